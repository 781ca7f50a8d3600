/** Who may ask this server for what. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const loopback = new Set(['localhost', '127.0.0.1', '::1']);
export const isLoopback = (host: string): boolean => loopback.has(host);

/** Why a request is not answered; undefined where it is. */
export interface Refusal {
  status: 401 | 403;
  why: string;
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
/** Equal, in a time that does not tell how far. */
const same = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));

/** The name in a Host header, without its port; undefined where it is none. */
function nameOf(host: string | undefined): string | undefined {
  if (host === undefined || !/^(\[[\da-f:]+\]|[\w.-]+)(:\d{1,5})?$/i.test(host)) return undefined;
  return host
    .replace(/:\d{1,5}$/, '')
    .replace(/^\[|\]$/g, '')
    .toLowerCase();
}

/**
 * Lets in what comes from this server's own pages and from programs, with the token where one is needed:
 *
 * - without a token the Host must be this machine's own name, or a page elsewhere could have its name lead here (DNS rebinding) and read;
 * - a request that says it comes from another site is refused, so that no page elsewhere can act here;
 * - the token is compared in constant time; it comes as a cookie (HttpOnly, SameSite=Strict), in `?token=` for the page once, or as `Authorization: Bearer`.
 */
export class Access {
  readonly token: string | undefined;
  readonly cookieName: string;

  constructor(token: string | undefined, port: number) {
    this.token = token;
    this.cookieName = `anneal_watch_${port}`; // cookies do not know ports
  }

  /** @param opening is it the page itself, to which a link from elsewhere may lead? */
  refusal(request: IncomingMessage, url: URL, opening: boolean): Refusal | undefined {
    const { host, origin } = request.headers;
    const site = request.headers['sec-fetch-site'];
    const name = nameOf(host);
    if (name === undefined) return { status: 403, why: 'the Host header is missing or no name' };
    if (this.token === undefined && !loopback.has(name))
      return { status: 403, why: 'this address is not served here; use localhost' };
    // With a token it may stand behind a proxy that speaks TLS.
    const own = origin === `http://${host}` || (this.token !== undefined && origin === `https://${host}`);
    if (origin !== undefined && !own) return { status: 403, why: 'requests of other origins are refused' };
    const foreign = site !== undefined && site !== 'same-origin' && site !== 'none';
    if (foreign && !opening) return { status: 403, why: 'requests of other sites are refused' };
    if (request.method === 'POST') {
      const known = own || site === 'same-origin' || request.headers.authorization !== undefined;
      if (!known || request.headers['x-anneal'] !== '1')
        return { status: 403, why: 'a change needs an Origin of this server and the header X-Anneal: 1' };
    }
    if (this.token === undefined || this.#knows(request, url, opening)) return undefined;
    return { status: 401, why: 'a token is needed: open the address that anneal watch printed' };
  }

  #knows(request: IncomingMessage, url: URL, opening: boolean): boolean {
    const { authorization = '', cookie = '' } = request.headers;
    const given = [
      /^Bearer (\S+)$/i.exec(authorization)?.[1],
      opening ? url.searchParams.get('token') : undefined,
      ...cookie
        .split(';')
        .map((c) => (c.trim().startsWith(`${this.cookieName}=`) ? c.trim().slice(this.cookieName.length + 1) : undefined)),
    ];
    return given.some((t) => typeof t === 'string' && same(t, this.token as string));
  }

  /** The cookie that lets the page's own requests in. */
  get cookie(): string | undefined {
    return this.token === undefined ? undefined : `${this.cookieName}=${this.token}; HttpOnly; SameSite=Strict; Path=/`;
  }
}
