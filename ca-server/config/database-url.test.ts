import { describe, expect, it } from 'vitest'
import { holdsPassword, parseDatabaseUrl, withPassword } from './database-url.ts'

describe('a connection string', () => {
  const plain = { user: undefined, password: undefined, database: undefined, sslmode: 'prefer' }

  it.each([
    ['postgresql://u@db/k', { user: 'u', database: 'k', hosts: [{ host: 'db', port: 5432 }] }],
    ['postgres://db:6000', { hosts: [{ host: 'db', port: 6000 }] }],
    [
      'postgresql://u:p%40s@[::1]:6000/k',
      { user: 'u', password: 'p@s', database: 'k', hosts: [{ host: '::1', port: 6000 }] },
    ],
    [
      'postgresql://a:1,b/k',
      {
        database: 'k',
        hosts: [
          { host: 'a', port: 1 },
          { host: 'b', port: 5432 },
        ],
      },
    ],
    [
      'postgresql:///k?host=a,b&port=1,2',
      {
        database: 'k',
        hosts: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
        ],
      },
    ],
    ['postgresql://u@/k?host=/run/pg', { user: 'u', database: 'k', hosts: [{ host: '/run/pg', port: 5432 }] }],
    ['postgresql://u@%2Frun%2Fpg:6000/k', { user: 'u', database: 'k', hosts: [{ host: '/run/pg', port: 6000 }] }],
    [
      'postgresql:///?host=/run/pg&user=u&dbname=k',
      { user: 'u', database: 'k', hosts: [{ host: '/run/pg', port: 5432 }] },
    ],
    ['postgresql://db?sslmode=verify-full', { hosts: [{ host: 'db', port: 5432 }], sslmode: 'verify-full' }],
    [
      'postgresql://db/k?sslmode=verify-ca&sslrootcert=/etc/root.crt&target_session_attrs=read-write',
      { database: 'k', hosts: [{ host: 'db', port: 5432 }], sslmode: 'verify-ca', sslrootcert: '/etc/root.crt' },
    ],
  ])('is read as libpq reads it: %s', (text, expected) => {
    expect(parseDatabaseUrl(text)).toEqual(expect.objectContaining({ ...plain, ...expected }))
  })

  it.each([
    ['mysql://db/k', 'such as postgresql://'],
    ['postgresql://u@h@db/k', 'such as postgresql://'],
    ['postgresql://u@/k', 'host=/run/postgresql'],
    ['postgresql://db/k?sslmod=require', 'no other'],
    ['postgresql://db/k?sslmode=verfy-full', 'verify-full'],
    ['postgresql://db/k?options=-c%20x', 'no other'],
    ['postgresql://db/k?sslmode=require&sslmode=disable', 'twice'],
    ['postgresql://db/k?host=other', 'twice'],
    ['postgresql://db/k?sslmode=verify-ca', 'sslrootcert'],
    ['postgresql://db/k?sslrootcert=root.crt', 'absolute path'],
    ['postgresql://db/k?sslcert=/a', 'sslkey'],
    ['postgresql://db/k?target_session_attrs=standby', 'primary'],
    ['postgresql://db:0/k', 'port'],
    ['postgresql://a,b/k?port=1,2,3', 'one for each host'],
    ['postgresql://d%zz/k', '%25'],
    ['postgresql://a b/k', 'DNS name'],
  ])('is refused: %s', (text, why) => {
    expect(() => parseDatabaseUrl(text)).toThrow(why)
  })

  it('says whether a password stands in it, also where it can not be read, and takes one', () => {
    for (const text of [
      'postgresql://u:p@db/k',
      'postgresql://db/k?password=p',
      'mysql://u:p@db/k',
      'postgresql://u:p@db?x=1',
    ])
      expect(holdsPassword(text), text).toBe(true)
    expect(holdsPassword('postgresql://u@db:5432/k')).toBe(false)
    for (const text of ['postgresql://u@db/k', 'postgresql:///k?host=/run/pg&user=u', 'postgresql://db,other:1/k'])
      expect(parseDatabaseUrl(withPassword(text, 'p@:/ ü'))).toEqual({ ...parseDatabaseUrl(text), password: 'p@:/ ü' })
  })
})
