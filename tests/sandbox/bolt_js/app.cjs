// An app on Slack's framework for Node: mentioned, it posts a card; it opens modals, answers a command, a shortcut and
// App Home. What it heard goes to standard output, one JSON object a line.
const { App, LogLevel } = require("@slack/bolt");

const text = (words) => ({ type: "plain_text", text: words });
const CARD = [{
  type: "actions", block_id: "decision",
  elements: [{ type: "button", action_id: "approve", value: "plan-1", text: text("Approve") }],
}];
const MODAL = {
  type: "modal", callback_id: "reason", title: text("Why?"), submit: text("Send"),
  blocks: [{
    type: "input", block_id: "why", label: text("Reason"),
    element: { type: "plain_text_input", action_id: "text" },
  }],
};
const HOME = { type: "home", blocks: [{ type: "section", text: { type: "mrkdwn", text: "All quiet" } }] };

const app = new App({
  token: process.env.SLACK_BOT_TOKEN,
  appToken: process.env.SLACK_APP_TOKEN,
  socketMode: true,
  logLevel: LogLevel.ERROR,
  clientOptions: { slackApiUrl: process.env.SLACK_BASE_URL },
});
const heard = (what, body) => process.stdout.write(`${JSON.stringify({ what, body })}\n`);
let submissions = 0;

app.event("app_mention", async ({ event, body, client }) => {
  heard("app_mention", body);
  const posted = await client.chat.postMessage({ channel: event.channel, thread_ts: event.ts, text: "looking" });
  await client.chat.update({ channel: event.channel, ts: posted.ts, text: "found", blocks: CARD });
  await client.reactions.add({ channel: event.channel, timestamp: event.ts, name: "eyes" });
  heard("answered", {});
});
app.event("message", async ({ body }) => heard("message", body));
app.event("reaction_added", async ({ body }) => heard("reaction_added", body));
app.event("app_home_opened", async ({ event, client }) => {
  await client.views.publish({ user_id: event.user, view: HOME });
});
app.action("approve", async ({ ack, body, client, respond }) => {
  await ack();
  heard("approve", body);
  await client.views.open({ trigger_id: body.trigger_id, view: MODAL });
  await respond({ text: "only you see this", response_type: "ephemeral", replace_original: false });
  heard("responded", {});
});
app.view("reason", async ({ ack, body }) => {
  submissions += 1;
  await ack(submissions === 1 ? { response_action: "errors", errors: { why: "Say more" } } : undefined);
  heard("reason", body);
});
app.command("/codehealer", async ({ ack, command }) => ack(`you said ${command.text}`));
app.shortcut("diagnose_message", async ({ ack, body, client }) => {
  await ack();
  await client.files.uploadV2({
    channel_id: body.channel.id, thread_ts: body.message.ts, filename: "pod.log", content: "exit 137", snippet_type: "text",
  });
  heard("uploaded", {});
});

app.start().then(() => heard("started", {}));
process.stdin.resume().on("end", () => app.stop().then(() => process.exit(0)));
