const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** An id as this shop makes them, in lower case. No other text can be one, so nobody needs to be asked for it. */
export const isUuid = (text: string): boolean => UUID.test(text);
