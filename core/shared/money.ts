/** Whole won (KRW). A safe integer, never a float; negative only as a difference. */
export type Money = number & { readonly __unit: 'won' };

/** The one way to make Money. Throws a RangeError for anything that is not a whole, safe number. */
export const won = (amount: number): Money => {
  if (!Number.isSafeInteger(amount)) throw new RangeError(`not whole won: ${amount}`);
  return amount as Money;
};

export const add = (a: Money, b: Money): Money => won(a + b);
export const subtract = (a: Money, b: Money): Money => won(a - b);
export const times = (price: Money, quantity: number): Money => won(price * quantity);
export const sum = (amounts: readonly Money[]): Money => amounts.reduce(add, won(0));
