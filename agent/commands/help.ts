export const HELP = `keyman-agent keeps sshd's files of this host as KeyMan wants them.

usage: keyman-agent join --token-file FILE|- [URL] [options]
       keyman-agent run | doctor | leave [--state-folder FOLDER]

  join     enrol this host, once, with the token that 'keyman host add' printed
  run      keep the stream to the server open and sshd's files in force
  doctor   look whether everything is as it should be (exit code 9 if not)
  leave    take everything of KeyMan off this host

  --token-file FILE   where the join token is; - reads it from standard input,
                      and at a terminal asks for it
  --state-folder DIR  key, certificate, memory (default /var/lib/keyman-agent,
                      for others than root ~/.local/state/keyman-agent)
  --sshd-folder DIR   files that sshd reads (default /etc/ssh/keyman)
  --drop-in FILE      what makes sshd read them; sshd_config must include it
                      (default /etc/ssh/sshd_config.d/keyman.conf, or
                      keyman.conf in a given --sshd-folder)
  --sshd-config FILE  (default /etc/ssh/sshd_config)
  --sshd FILE         (default /usr/sbin/sshd)
  --host-key FILE     public file of a host key, repeatable
                      (default /etc/ssh/ssh_host_{ed25519,ecdsa,rsa}_key.pub)
  --reload COMMAND    how sshd reads its configuration again
                      (default 'systemctl reload ssh', else /run/sshd.pid)
  --pid-file FILE     send SIGHUP to the sshd of this file instead
  --sshd-log FILE     where sshd says who was let in: journal, none, or the file
                      that sshd -E writes (default journal, where there is one)
  --again             join although this host has joined before
  --json              for doctor: { checks: [{ name, ok, message }] }

  keyman-agent join --token-file - < token
  keyman-agent doctor
`
