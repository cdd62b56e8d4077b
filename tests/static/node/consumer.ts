import { answer } from "async_reply/answer.js";
import { cancel, follow, OperationFailed, submit } from "async_reply/client.js";
import type { FollowOptions, Operation, Submission } from "async_reply/client.js";
import { followLog } from "async_reply/log.js";
import type { LogEvent } from "async_reply/log.js";
import { OperationProgress } from "async_reply/operation-progress.js";

const headers = async (): Promise<HeadersInit> => ({ Authorization: "Token demo" });
const submission: Submission = await submit("/api/", new FormData(), { headers, idempotencyKey: "k" });
const options: FollowOptions = {
  modes: ["wait", "poll"],
  signal: AbortSignal.timeout(1000),
  onChange: (operation: Operation) => operation.links.cancel?.length,
  renew: () => new URL("https://example.org/"),
};
try {
  const response: Response = await follow(submission, options);
  response.json();
} catch (error) {
  if (error instanceof OperationFailed && !error.isCanceled) console.log(error.problem.detail, error.status);
}
const canceled: Operation | null = await cancel("https://example.org/", { headers });
const answered: { status: "answered" } = await answer(canceled!, { approved: true }, { headers });
const until: string | undefined = canceled?.input_required?.until;

const element: OperationProgress = document.createElement("operation-progress");
element.href = submission.location ?? "";
element.options = options;
element.addEventListener("operation-result", (event) => event.detail.json());

const tokens: string[] = [];
const outcome: Operation | null = await followLog(canceled?.links.log ?? "/log/", {
  headers,
  after: 3,
  onEvent: (event: LogEvent<{ text: string }>) => void tokens.push(event.data.text),
  onReset: (after: number) => void (tokens.length = after),
});
console.log(outcome?.status);

// @ts-expect-error an option of `follow`, not of `followLog`
await followLog("/log/", { onChange() {} });
// @ts-expect-error a mode that does not exist
await follow(submission, { modes: ["guess"] });
// @ts-expect-error `status` has no such value
if (canceled?.status === "cancelled") throw new Error(answered.status + until);
// @ts-expect-error an option of `follow`, not of `submit`
await submit("/api/", {}, { onChange() {} });
