/** Pure: what came of reading a name: its one spelling, or what is wrong with it, as the end of a sentence. */
export type Reading = { readonly text: string } | { readonly wrong: string }

/** `A` to `Z` alone: `toLowerCase` makes an ASCII `k` of U+212A, the Kelvin sign, too. */
export const lowerCase = (text: string): string => text.replace(/[A-Z]+/g, letters => letters.toLowerCase())
