/** The element <operation-progress href="…">. See operation-progress.js. */

import type { FollowOptions, Operation } from "./client.js";

export interface OperationProgressEventMap {
  "operation-change": CustomEvent<Operation>;
  "operation-result": CustomEvent<Response>;
  "operation-error": CustomEvent<Error>;
}

export class OperationProgress extends HTMLElement {
  /** The words of the element. A page may replace them. */
  static labels: Record<string, string | ((time: string) => string)>;
  /** The URL to follow. A new value follows another operation. */
  href: string;
  /** Options of `follow`, such as headers, and of the request that cancels. */
  options: FollowOptions;
  /** The last document of the operation. */
  operation: Operation | null;
  /** Ask the server to stop the operation. */
  cancel(): Promise<void>;
  addEventListener<K extends keyof OperationProgressEventMap>(
    type: K,
    listener: (event: OperationProgressEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "operation-progress": OperationProgress;
  }
}
