/** Follows long-running operations: HTTP 202, Location, Retry-After. See client.js. */

export type Status = "pending" | "running" | "canceling" | "succeeded" | "failed" | "canceled";

/** An operation as the server describes it. Servers other than async_reply may leave members out. */
export interface Operation {
  id: string;
  kind: string;
  status: Status;
  created_at: string;
  started_at?: string | null;
  updated_at?: string;
  finished_at?: string | null;
  expires_at?: string | null;
  /** Percent, or null if the job does not tell. */
  progress?: number | null;
  message?: string;
  /** The server's estimate of the seconds that are left. */
  eta_seconds?: number | null;
  /** The same from a project whose renderer writes names in camel case, as all names of two words. */
  etaSeconds?: number | null;
  attempt?: number;
  queue_position?: number;
  links: Links;
  /** What the job asks now. Missing while it asks nothing. */
  input_required?: Question;
  inputRequired?: Question;
  /** The URL of the result, once the operation has succeeded. */
  resourceLocation?: string;
  error?: Problem;
}

export interface Links {
  self: string;
  monitor: string;
  result: string;
  events: string;
  /** Missing where the project has no such URL. */
  log?: string;
  /** Missing if there is nothing to cancel. */
  cancel?: string;
  /** Missing if this caller may answer no question. */
  input?: string;
}

export interface Question {
  name: string;
  /** The JSON Schema of an answer. */
  schema: { [keyword: string]: unknown };
  since: string;
  /** When the server gives up. */
  until: string;
  /** Where `answer` posts to, and a page with a form for a browser. Null for callers who may not answer. */
  link: string | null;
}

/** A problem document (RFC 9457). A failed operation has `code` and `message` as well. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  message?: string;
  /** Field errors, as the server names the fields. */
  errors?: unknown;
  [member: string]: unknown;
}

/** The operation failed or was canceled, or the server refused a request. */
export class OperationFailed extends Error {
  constructor(
    problem: Problem,
    more?: { status?: number; operation?: Operation | null; retryAfter?: number | null },
  );
  readonly name: "OperationFailed";
  readonly problem: Problem;
  /** The HTTP status of the refusal, or the one in the problem. */
  readonly status: number | undefined;
  /** The failed operation; null if a request was refused. */
  readonly operation: Operation | null;
  /** Seconds after which a refused request may be repeated. */
  readonly retryAfter: number | null;
  readonly isCanceled: boolean;
}

export interface RequestOptions {
  /**
   * Headers for the origin of the first URL; another origin gets none of them. A function is called
   * before each request, so that a token can be renewed during a long wait.
   */
  headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** Whether cookies are sent; "same-origin" by default. */
  credentials?: RequestCredentials;
  /** Ends the requests. The promise is rejected with the signal's reason; the operation goes on. */
  signal?: AbortSignal;
  /** How often in a row a request is repeated while the server is away; 20 by default. */
  retries?: number;
  /** Replaces the global `fetch`. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

export interface SubmitOptions extends RequestOptions {
  /** The same key never starts a second operation, so that the request can be repeated. */
  idempotencyKey?: string;
}

export interface Submission {
  /** The URL to follow; null if the server answered with the result at once. */
  location: string | null;
  /** The URL of the result, if the server names it in Location. */
  result: string | null;
  /** The receipt. */
  operation: Operation | null;
  response: Response;
}

export type Mode = "events" | "wait" | "poll";

export interface FollowOptions extends RequestOptions {
  /** Called with each document that differs from the one before. */
  onChange?: (operation: Operation) => void;
  /** The ways to try, the best first; all by default. The last resort is always "poll". */
  modes?: readonly Mode[];
  /** Seconds that the server may hold a request in the mode "wait"; 20 by default. */
  waitSeconds?: number;
  /** false: the promise holds the operation's document, and the result is not fetched. */
  fetchResult?: boolean;
  /** Returns another URL of the operation when its signed link has expired. */
  renew?: () => string | URL | Promise<string | URL>;
}

/**
 * POST `body` to `url`. Strings, FormData, URLSearchParams, Blob and bytes are sent as they are,
 * other values as JSON. Raises OperationFailed if the server refuses the request.
 */
export function submit(url: string | URL, body?: unknown, options?: SubmitOptions): Promise<Submission>;

/**
 * Wait for the end of an operation. The promise holds the answer with the result, whose body has
 * not been read. Raises OperationFailed if the operation failed, was canceled or has expired.
 */
export function follow(location: string | URL | Submission, options?: FollowOptions): Promise<Response>;

/** Ask the server to stop. Returns the document then; null if there is nothing to cancel. */
export function cancel(target: string | URL | Operation, options?: RequestOptions): Promise<Operation | null>;

/** Sends requests and repeats them while the server is away. For the other modules; it may change. */
export class Client {}

/** Reads a stream of server-sent events. For the other modules; it may change. */
export function eventsOf(response: Response, timer: unknown): AsyncGenerator<unknown>;

/** Ends a request after a while. For the other modules; it may change. */
export function timerOf(signal?: AbortSignal): unknown;

/** What the job asks, under either spelling of its name. For the other modules; it may change. */
export function questionOf(operation: Operation): Question | undefined;
