type Environment = Readonly<Record<string, string | undefined>>
export type ProxyEnvironment = { readonly HTTPS_PROXY: string; readonly NO_PROXY?: string }

/**
 * Pure: by which proxy an https address is to be asked, as Node's agents take it: by CONNECT, so that the proxy sees the name and
 * no more. Undefined where none is to be: no `HTTPS_PROXY`, or a server on this very machine, which a proxy would look for on its own.
 */
export function proxyEnvironment(url: string, environment: Environment): ProxyEnvironment | undefined {
  const proxy = environment.https_proxy || environment.HTTPS_PROXY
  if (!proxy || isThisMachine(new URL(url).hostname)) return undefined
  const except = environment.no_proxy || environment.NO_PROXY
  return { HTTPS_PROXY: proxy, ...(except ? { NO_PROXY: except } : {}) }
}

const isThisMachine = (host: string): boolean =>
  host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127(\.[0-9]{1,3}){3}$/.test(host)

/** What a proxy is called where it is told or logged: never with the name and the password that may stand in its address. */
export function proxyName({ HTTPS_PROXY }: ProxyEnvironment): string {
  return URL.canParse(HTTPS_PROXY)
    ? new URL(HTTPS_PROXY).host
    : 'that HTTPS_PROXY names, which is no address such as http://proxy.example.com:3128'
}

/** What went wrong at the proxy, where an error is of it; of its own words nothing. */
export function proxyFailure(
  error: Error & { code?: string; statusCode?: number },
  proxy: ProxyEnvironment | undefined,
): { readonly why: string; readonly hint: string } | undefined {
  if (!proxy) return undefined
  const hint = 'look at HTTPS_PROXY; NO_PROXY names what is reached without'
  const { code, statusCode } = error
  const name = proxyName(proxy)
  if (code === 'ERR_PROXY_TUNNEL') {
    const answered = statusCode === undefined ? 'let nothing through' : `answered ${statusCode}`
    return {
      why: `the proxy ${name} ${answered}`,
      hint: statusCode === 407 ? `it wants a name and a password: ${hint}` : hint,
    }
  }
  if (code?.startsWith('ERR_PROXY') || code === 'ERR_INVALID_URL')
    return { why: `the proxy ${name} can not be used`, hint }
  // The connection that failed is the one to the proxy: no other was made.
  if (code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'ETIMEDOUT')
    return { why: `the proxy ${name} is not reached (${code})`, hint }
  return undefined
}
