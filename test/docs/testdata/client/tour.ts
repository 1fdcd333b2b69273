// A tour of the HTTP API. The types of paths, bodies and replies are generated:
//   openapi-typescript openapi.json -o schema.d.ts && tsc && node out/tour.js PAID OPEN
// PAID is an order that the platform lets be paid, OPEN one that stays open.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { env: Record<string, string | undefined>; argv: string[] };
const [, , paid = "", open = ""] = process.argv;
const mchid = process.env["WECHATPAY_MCHID"] ?? "";

const client = createClient<paths>({
  baseUrl: process.env["API"] ?? "http://127.0.0.1:9090",
  headers: { Authorization: `Bearer ${process.env["TOKEN"]}` },
});

// must returns the data of a reply, or throws the problem's detail, which names field and remedy.
function must<T>(reply: { data?: T; error?: { detail?: string; status?: number } }): T {
  if (reply.data === undefined) throw new Error(`${reply.error?.status}: ${reply.error?.detail}`);
  return reply.data;
}

const enqueued = must(await client.POST("/v1/orders", {
  body: { orders: [{ out_order_no: paid, amount: 1250 }, { out_order_no: open }, { out_order_no: "bad number" }] },
}));

// The compiler knows the fields of a row.
// @ts-expect-error
const misspelt: NonNullable<paths["/v1/orders"]["post"]["requestBody"]>["content"]["application/json"] = { orders: [{ out_oder_no: paid }] };
void misspelt;

const at = (out_order_no: string) => ({ params: { path: { mchid, out_order_no } } });
let look = must(await client.GET("/v1/orders/{mchid}/{out_order_no}", at(paid)));
while (look.state === "queued" || look.state === "awaiting") {
  await new Promise((resolve) => setTimeout(resolve, 50));
  look = must(await client.GET("/v1/orders/{mchid}/{out_order_no}", at(paid)));
}

const listed = new Set<string>(); // an order that changes its state between two pages can come twice
let cursor: string | undefined;
do {
  const page = must(await client.GET("/v1/orders", { params: { query: { mchid, limit: 1, cursor } } }));
  for (const order of page.orders) listed.add(order.out_order_no);
  cursor = page.next;
} while (cursor);

const withdrawn = must(await client.POST("/v1/orders/{mchid}/{out_order_no}/withdraw", { ...at(open), body: { reason: "paid at the counter" } }));
const refused = await client.POST("/v1/orders/{mchid}/{out_order_no}/withdraw", { ...at(paid), body: { reason: "too late" } });
const audit = must(await client.GET("/v1/audit", { params: { query: { mchid } } }));

console.log(JSON.stringify({
  enqueued: enqueued.results.map((row) => row.result),
  state: look.state,
  paid: look.paid_amount,
  words: look.explain.state,
  listed: [...listed].sort(),
  withdrawn: withdrawn.state,
  refused: refused.error?.status,
  audit: audit.actions.map((action) => `${action.by} ${action.action} ${action.out_order_no} ${action.reason}`),
}));
