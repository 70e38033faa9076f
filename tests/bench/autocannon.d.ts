/** The part of autocannon 9 that the benchmarks use; it ships no types, and @types/autocannon stands at version 7. */
declare module 'autocannon' {
  interface Request {
    method: string;
    path: string;
    headers?: Record<string, string>;
    setupRequest?(request: Request): Request;
  }
  interface Options {
    url: string;
    connections: number;
    amount: number;
    requests: Request[];
  }
  interface Load extends PromiseLike<unknown> {
    on(event: 'response', listener: (client: unknown, status: number, bytes: number, milliseconds: number) => void): void;
  }
  export default function autocannon(options: Options): Load;
}
