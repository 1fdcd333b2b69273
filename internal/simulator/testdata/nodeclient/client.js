// Calls the simulator with wechatpay-axios-plugin, which signs requests and
// verifies replies with its own code. Settings come from merchant.env, through
// the environment. Usage: node client.js collect|query OUT_ORDER_NO
//                    or: node client.js notification EVENT_TYPE, which verifies
// and decrypts what it reads from standard input, {"headers":{…},"body":"…"}.
// Prints one JSON object: {data} of a verified reply or notification, or
// {error, status}.
'use strict';

const { readFileSync } = require('fs');
const {
  Wechatpay, Rsa, Aes, Formatter,
} = require('wechatpay-axios-plugin');

const env = process.env;
const client = new Wechatpay({
  mchid: env.WECHATPAY_MCHID,
  serial: env.WECHATPAY_SERIAL_NO,
  privateKey: readFileSync(env.WECHATPAY_PRIVATE_KEY_FILE),
  certs: { [env.WECHATPAY_PUBLIC_KEY_ID]: readFileSync(env.WECHATPAY_PUBLIC_KEY_FILE) },
  baseURL: env.WECHATPAY_BASE_URL,
  timeout: 10000,
});
const service = { appid: env.PAYSCORE_APPID, service_id: env.PAYSCORE_SERVICE_ID };

const calls = {
  collect: (no) => client.v3.payscore.serviceorder['{no}'].pay.post(service, { no: encodeURIComponent(no) }),
  query: (no) => client.v3.payscore.serviceorder.get({ params: { ...service, out_order_no: no } }),
  notification: async (type) => {
    const { headers, body } = JSON.parse(readFileSync(0));
    const signed = Formatter.response(headers['Wechatpay-Timestamp'], headers['Wechatpay-Nonce'], body);
    const key = Rsa.from(readFileSync(env.WECHATPAY_PUBLIC_KEY_FILE), Rsa.KEY_TYPE_PUBLIC);
    if (headers['Wechatpay-Serial'] !== env.WECHATPAY_PUBLIC_KEY_ID || !Rsa.verify(signed, headers['Wechatpay-Signature'], key)) {
      throw new Error('SIGNATURE');
    }
    const { event_type: got, resource } = JSON.parse(body);
    if (got !== type) throw new Error(got);
    return { data: JSON.parse(Aes.AesGcm.decrypt(resource.ciphertext, env.WECHATPAY_API_V3_KEY, resource.nonce, resource.associated_data)) };
  },
};

const [, , call, about] = process.argv;
calls[call](about).then(
  ({ data }) => console.log(JSON.stringify({ data })),
  (err) => console.log(JSON.stringify({
    error: (err.response && err.response.data && err.response.data.code) || err.code || err.message,
    status: err.response && err.response.status,
  })),
);
