/** Every word of the pages. A second language is a second object of this shape. */
export const english = {
  title: 'KeyMan',
  loading: 'One moment…',
  offline: 'The server does not answer. Is it still running?',
  internal: 'Something happened that KeyMan does not expect.',
  internalHint: 'Load the page again. If it stays so, tell your administrator.',
  request: 'Request',
  again: 'Try again',
  done: 'Done',

  noPasskeys: 'This browser cannot use passkeys here.',
  noPasskeysHint:
    'Open this page in a current browser, at its own name (https, or http://localhost), not at an IP address.',
  /** What happened, and what to do next. */
  because: {
    notSaid: [
      'The passkey was not used, and the browser does not say why.',
      'It was cancelled, took too long, or this security key has no PIN or no room. Nothing has happened; you can try again.',
    ],
    known: ['This device holds a passkey for you already.', 'Use that one, or add one on another device.'],
    noVerification: [
      'This device can not check that it is you.',
      'Set a PIN, a fingerprint or a screen lock on it, or take another device.',
    ],
    noFocus: ['The passkey was not asked for: another window was in front.', 'Click into this page and try again.'],
    cannotKeep: [
      'This device can not keep a passkey.',
      'Take a phone, a computer with a screen lock, or a security key that supports FIDO2.',
    ],
    noRoom: [
      'There is no room for another passkey on this device.',
      'Remove one that you need no more in the settings of the device, or take another device.',
    ],
    wrongAddress: [
      'A passkey can not be used at this address.',
      "Open the server's own address, https or http://localhost, as your administrator gave it.",
    ],
    another: ['Another page is asking for a passkey at this moment.', 'Answer or close that one, and try again.'],
    device: [
      'The device that holds the passkey reported a failure.',
      'Take it out and put it in again. A security key that is full or locked says no more than this.',
    ],
    unknown: (name: string) => `The browser refused with ${name}, which KeyMan does not know.`,
    unknownHint: 'Try again, or take another browser or device; tell your administrator that name.',
  } as const satisfies Record<string, readonly [string, string] | string | ((name: string) => string)>,

  enrolTitle: (organisation: string) => `Welcome to ${organisation}`,
  enrolFirst:
    'You will be the first owner of this organisation, who may do everything in it. Choose who you are; this name stands in every certificate and record and cannot be changed later.',
  enrolAdministrator:
    'You will be an owner of this organisation: you decide who may log in where. Your name stands in every certificate and record and cannot be changed later.',
  namelessOrganisation:
    'This organisation has no name yet. Before others join, give it one that means something to them: organisation = "acme" in the configuration of the server.',
  enrolInvitation:
    'You have been invited as a person, not as an owner: administrators decide where you may log in. Make a passkey: from then on it is all you need to sign in.',
  enrolInvitedAdministrator:
    'You have been invited as an owner: you will decide who may log in where. Make a passkey: from then on it is all you need to sign in.',
  resetTitle: (organisation: string) => `A new passkey for ${organisation}`,
  reset: (identity: string) =>
    `This is for ${identity} alone, and gives all that ${identity} has: go on only if that is you. Everything that was signed in before has been signed out.`,
  resetAdministrator: (identity: string) => `With the new passkey ${identity} is an owner.`,
  resetWaits: 'The new passkey can be used once another owner has said yes to it.',
  copy: 'Copy',
  copied: 'Copied',
  notCopied: 'Not copied: select it',
  waitsTitle: 'The passkey was made',
  waits: 'It can be used once another owner says yes. Ask one of them to run:',
  identity: 'Your identity',
  identityWrong: 'An identity looks like alice@example.com: lower-case letters, digits and . _ + -, with one @.',
  passkeyName: 'A name for this passkey',
  passkeyNameDefault: 'My first passkey',
  makePasskey: 'Create passkey',
  waitsCommand: (identity: string) => `keyman person enable ${identity}`,
  enrolled: (identity: string) => `You are ${identity}`,
  next: 'Next, in a terminal (in a clone of KeyMan it is bin/keyman):',
  secondPasskey: 'Make a second passkey on another device soon: with one alone, losing it locks you out.',
  linkMissing: 'This link is not complete.',
  linkMissingHint: 'Copy the whole link, with everything after #.',
  myPasskeys: 'My passkeys',

  linkTitle: 'A link of KeyMan',
  loginTitle: (organisation: string) => `Sign in a machine to ${organisation}?`,
  loginWarning: 'Go on only if you have just started this yourself.',
  compare: 'The terminal shows the beginning of both keys. Refuse if they differ.',
  compareClient: 'The terminal shows the beginning of the client key. Refuse if it differs.',
  deviceWarning:
    'Somebody may have asked you to type a code. Go on only if the machine below is yours and its own terminal showed you the code.',
  device: 'Calls itself',
  address: 'Asked from',
  sshKey: 'SSH key',
  clientKey: 'Client key',
  lifetime: 'For',
  allow: 'Allow with passkey',
  refuse: 'Refuse',
  allowed: 'Signed in',
  allowedDevice: (person: string) => `The machine is signed in as ${person}. You may close this page.`,
  goingBack: 'Going back to the terminal…',
  refused: 'Refused',
  refusedText: 'Nothing was given. You may close this page.',

  codeTitle: 'Sign in a machine',
  codeText: 'Type the code that the terminal of your machine shows.',
  code: 'Code',
  codeContinue: 'Continue',

  confirmTitle: 'Confirm an action',
  action: 'Action',
  askedBy: 'It is asked for by:',
  person: 'As',
  confirm: 'Confirm with passkey',
  confirmed: 'Confirmed',
  confirmedText: 'You may close this page; the terminal goes on by itself.',

  signInTitle: 'Sign in',
  signIn: 'Sign in with passkey',
  signInText: 'Sign in to see and manage your passkeys.',
  signOut: 'Sign out',
  signedInAs: 'Signed in as',
  created: 'made',
  lastUsed: 'last used',
  never: 'never',
  synced: 'synced',
  rename: 'Rename',
  save: 'Save',
  cancel: 'Cancel',
  remove: 'Remove',
  removeSure: (name: string) =>
    `Remove “${name}”? It can't be used to sign in any more, and everything but this session is signed out.`,
  addPasskey: 'Add a passkey',
  newName: 'Name',
  anotherPasskey: 'Another passkey',
  notFound: 'There is no such page.',
  home: 'To the start',
}

export type Strings = typeof english
export const strings: Strings = english
