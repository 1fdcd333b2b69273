package worker_test

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/tasks"
)

// Every row of the collect call's error table, through the real worker: what
// the platform says once, and how the order ends when it then behaves.
func TestEveryErrorOfCollectEndsAsItShould(t *testing.T) {
	t.Parallel()
	const pays, never = "pays", "never"
	rows := []struct {
		no           string
		http         int
		code, detail string
		kind         simulator.ReplyKind // error unless said
		times        int                 // 1 unless said
		fate         simulator.Fate      // pays unless said
		state        tasks.State
		attempts     int64 // at the end
	}{
		{no: "PARAM_ERROR", http: 400, code: "PARAM_ERROR", detail: "268435464", state: tasks.Rejected, attempts: 1},
		{no: "INVALID_REQUEST", http: 400, code: "INVALID_REQUEST", state: tasks.Paid, attempts: 2},
		{no: "INVALID_REQUEST-754", http: 400, code: "INVALID_REQUEST", detail: "271316754", state: tasks.Paid, attempts: 2},
		{no: "INVALID_ORDER_STATE", http: 400, code: "INVALID_ORDER_STATE", detail: "271302262", state: tasks.Paid, attempts: 2},
		{no: "STATE-OPEN", http: 400, code: "INVALID_ORDER_STATE", detail: "271302332", fate: "not_completed", state: tasks.Rejected, attempts: 1},
		{no: "ORDER_DONE-LIE", http: 400, code: "ORDER_DONE", detail: "271316657", fate: never, state: tasks.Exhausted, attempts: -1},
		{no: "ORDER_DONE-TRUE", http: 400, code: "ORDER_DONE", detail: "271316657", fate: "user_pays:1ms", state: tasks.Paid, attempts: 1},
		{no: "ORDER_CANCELED-LIE", http: 400, code: "ORDER_CANCELED", detail: "271302333", fate: never, state: tasks.Exhausted, attempts: -1},
		{no: "ORDER_CANCELED-TRUE", http: 400, code: "ORDER_CANCELED", detail: "271302333", fate: "revoked", state: tasks.Closed, attempts: 1},
		{no: "TRADE_ERROR", http: 403, code: "TRADE_ERROR", detail: "271316574", state: tasks.Paid, attempts: 2},
		{no: "NOT_EXIST-ONCE", http: 404, code: "ORDER_NOT_EXIST", detail: "271317510", state: tasks.Paid, attempts: 2},
		{no: "NOT_EXIST-EVER", http: 404, code: "ORDER_NOT_EXIST", detail: "271317510", fate: "unknown", state: tasks.Rejected, attempts: 1},
		{no: "FREQUENCY_LIMITED", http: 429, code: "FREQUENCY_LIMITED", detail: "268435472", state: tasks.Paid, attempts: 1},
		{no: "RATELIMIT", http: 429, code: "RATELIMIT_EXCEEDED", state: tasks.Paid, attempts: 1},
		{no: "SYSTEM_ERROR-500", http: 500, code: "SYSTEM_ERROR", state: tasks.Paid, attempts: 1},
		{no: "SYSTEM_ERROR-502", http: 502, code: "SYSTEM_ERROR", state: tasks.Paid, attempts: 1},
		{no: "SYSTEM_ERROR-503", http: 503, code: "SYSTEM_ERROR", state: tasks.Paid, attempts: 1},
		{no: "HTML-502", http: 502, kind: "html", state: tasks.Paid, attempts: 1},
		{no: "HTML-404", http: 404, kind: "html", state: tasks.Paid, attempts: 1},
		{no: "RESET-BEFORE", kind: "drop_before", state: tasks.Paid, attempts: 1},
		{no: "RESET-AFTER", kind: "drop_after", state: tasks.Paid, attempts: 0},
		{no: "TRUNCATED", kind: "truncated", state: tasks.Paid, attempts: 0},
		{no: "TIME-OUT", kind: "hang", state: tasks.Paid, attempts: 1},
		{no: "FORGED-200", kind: "ok_unsigned", state: tasks.Paid, attempts: 1},
		{no: "SIGNTEST-200", kind: "ok_wrong_signature", fate: never, state: tasks.Exhausted, attempts: -1},
		{no: "NO-CONTENT", kind: "no_content", state: tasks.Paid, attempts: 1},
		{no: "SIGN_ERROR", http: 401, code: "SIGN_ERROR", detail: "270924332", state: tasks.Paid, attempts: 1},
		{no: "NO_AUTH", http: 403, code: "NO_AUTH", detail: "268503786", state: tasks.Paid, attempts: 1},
		{no: "RISK", http: 403, code: "NO_AUTH", detail: "271300099", state: tasks.Paid, attempts: 2},
		{no: "OVERDUE", http: 403, code: "NO_AUTH", detail: "271299627", state: tasks.Paid, attempts: 2},
		{no: "TEEN-MODE", http: 403, code: "NO_AUTH", detail: "268560785", state: tasks.Paid, attempts: 2},
		{no: "RISK-AMOUNT", http: 400, code: "PARAM_ERROR", detail: "271316656", state: tasks.Paid, attempts: 2},
		{no: "OTHER-PARAMETERS", http: 400, code: "PARAM_ERROR", detail: "271316598", state: tasks.Paid, attempts: 2},
		{no: "MCHID-UNKNOWN", http: 400, code: "PARAM_ERROR", detail: "271302144", state: tasks.Paid, attempts: 1},
		{no: "MCHID-APPID", http: 400, code: "PARAM_ERROR", detail: "271302149", state: tasks.Paid, attempts: 1},
	}
	for _, row := range rows {
		t.Run(row.no, func(t *testing.T) {
			t.Parallel()
			r := workertest.New(t, func(c *config.Worker) {
				c.GiveUpAfter = 20 * time.Second
				if row.fate == never {
					c.GiveUpAfter = 3 * time.Second
				}
			})
			kind := row.kind
			if kind == "" {
				kind = simulator.KindError
			}
			fate := row.fate
			if fate == "" {
				fate = pays
			}
			r.Add(simulator.Order{OutOrderNo: row.no, Fate: fate, Replies: []simulator.ScriptedReply{{
				Call: "collect", Times: max(1, row.times), Kind: kind, HTTP: row.http, Code: row.code, DetailCode: row.detail,
			}}})
			r.Enqueue(row.no)
			r.Work()
			r.AllEnded()
			if row.code != "PARAM_ERROR" || row.state == tasks.Paid { // for one that is rejected, the platform lied
				r.Audit()
			}
			o := r.Get(row.no)
			if o.State != row.state {
				t.Errorf("ended as %s %s, want %s", o.State, o.Reason, row.state)
			}
			if row.attempts >= 0 && o.Attempts != row.attempts {
				t.Errorf("%d attempts, want %d: %+v", o.Attempts, row.attempts, o.Log)
			}
			if row.code != "" {
				first := o.Log[0]
				if first.HTTPStatus != row.http || first.Code != row.code || first.DetailCode != row.detail || first.RequestID == "" {
					t.Errorf("the log begins with %+v", first)
				}
			}
		})
	}
}

// What the logs of a worker that meets everything must not say.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	r.FaultsExpected = true
	for i, no := range workertest.Numbers("SECRET", 40) {
		fate := []simulator.Fate{"pays", "declines:1", "revoked", "unknown"}[i%4]
		r.Add(simulator.Order{OutOrderNo: no, Fate: fate})
		r.Enqueue(no)
	}
	if err := r.Sim.SetFaults(simulator.Faults{Error5xx: 0.05, DropAfter: 0.1, WrongSignature: 0.1, MissingSignature: 0.05, HTML502: 0.05}); err != nil {
		t.Fatal(err)
	}
	r.Work()
	// A task that cannot be decoded, with a secret in it that belongs in no log
	// business.
	_, err := r.Queue().Enqueue(r.RawTask([]byte(`{"openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",`)))
	if err != nil {
		t.Fatal(err)
	}
	r.Eventually("enough to be logged", func() bool {
		log := r.Logs.String()
		return strings.Count(log, `"verdict"`) > 100 && strings.Contains(log, `"event":"task_unusable"`)
	})
	if err := r.Sim.SetFaults(simulator.Faults{SignError: true}); err != nil {
		t.Fatal(err)
	}
	r.Add(simulator.Order{OutOrderNo: "LAST", Fate: "pays"})
	r.Enqueue("LAST")
	r.Eventually("the fault to be logged", func() bool { return strings.Contains(r.Logs.String(), "CALLS STOPPED") })
	truth, _ := r.Sim.Order("SECRET-0000")
	log := r.Logs.String()
	m := r.Sim.Merchant()
	pem, err := m.PrivateKeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"the APIv3 key":           m.APIv3Key,
		"an Authorization header": "WECHATPAY2-SHA256",
		"a signature":             `signature=`,
		"SIGNTEST signatures":     "SIGNTEST",
		"the private key":         strings.Split(pem, "\n")[3],
		"an openid":               truth.Entity.OpenID,
		"a payload's openid":      "oUpF8uMuAJO",
		"a body":                  `"collection"`,
		"an attach":               "attach",
	}
	for what, secret := range secrets {
		if secret == "" {
			t.Errorf("%s: there is nothing to look for", what)
		} else if strings.Contains(log, secret) {
			t.Errorf("the log has %s", what)
		}
	}
}
