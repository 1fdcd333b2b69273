package api_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"payscore-collector/internal/api"
	"payscore-collector/internal/config"
	"payscore-collector/internal/testkit"
)

func TestAccess_WithoutToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:9090": 200, "127.0.0.1:9090": 200, "127.8.8.8": 200, "[::1]:9090": 200, "[::ffff:127.0.0.1]": 200,
		"rebound.example": 403, "rebound.example:9090": 403, "localhost.example": 403, "10.0.0.1:9090": 403, "127.0.0.1.example": 403,
	} {
		a := f.get("/v1/stats", "Host: "+host)
		if want == 403 {
			a.wants(t, want, "Host", "127.0.0.1", "API_TOKENS_FILE")
		} else if a.Status != want {
			t.Errorf("Host %s: %d %s", host, a.Status, a.Body)
		}
	}
	f.post("/v1/orders", `{"orders":[]}`)
	if line := f.logs.Events("api_request"); len(line) != 1 || line[0]["by"] != "api:local" {
		t.Errorf("%v", line)
	}

	t.Run("at an address that others reach", func(t *testing.T) {
		f := newFixture(t, func(o *api.Options) { o.Loopback = false })
		if !f.api.NeedsToken() || newFixture(t).api.NeedsToken() {
			t.Error("NeedsToken is wrong")
		}
		for _, path := range []string{"/v1/stats", "/v1/orders", "/v1/none"} {
			f.get(path).wants(t, 403, "ADMIN_ADDR", "API_TOKENS_FILE", "ADMIN_TOKEN")
		}
		f.as("any").get("/v1/stats").wants(t, 403, "ADMIN_ADDR")
	})
}

func TestAccess_Tokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t), func(o *api.Options) { o.AdminToken = "the admin's token"; o.Loopback = false })
	f.open(mchA, "A")
	f.open(mchB, "B")
	enqueue := func(mchid string) string { return `{"orders":[{"mchid":"` + mchid + `","out_order_no":"X"}]}` }

	for _, header := range []string{"", "Bearer", "Bearer ", "Basic dmlld2VyOnZpZXdlcg==", "viewer", "bearer"} {
		a := f.get("/v1/stats", "Authorization: "+header)
		a.wants(t, 401, "Authorization", "worker token")
		if !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%q: WWW-Authenticate is %q", header, a.Header.Get("WWW-Authenticate"))
		}
	}
	f.as("viewer ").get("/v1/stats", "Host: any.example")
	if a := f.get("/v1/stats", "Authorization: bearer viewer"); a.Status != 200 { // the scheme's case says nothing
		t.Errorf("%d %s", a.Status, a.Body)
	}
	f.as("vieweR").get("/v1/stats").wants(t, 401, "token")

	for _, token := range []string{"viewer", "billing", "operator", "the admin's token", "only-b"} {
		if a := f.as(token).get("/v1/stats", "Host: any.example"); a.Status != 200 {
			t.Errorf("%s: %d %s", token, a.Status, a.Body)
		}
	}
	f.as("viewer").post("/v1/orders", enqueue(mchA)).wants(t, 403, "viewer", "billing")
	f.as("viewer").post("/v1/orders/"+mchA+"/A/withdraw", `{"reason":"x"}`).wants(t, 403, "viewer", "billing")
	for _, token := range []string{"billing", "operator", "the admin's token"} {
		if a := f.as(token).post("/v1/orders", enqueue(mchA)); a.Status != 200 {
			t.Errorf("%s: %d %s", token, a.Status, a.Body)
		}
	}

	t.Run("a token of another merchant", func(t *testing.T) {
		f := f.as("only-b")
		f.get("/v1/orders/"+mchA+"/A").wants(t, 403, "mchid", mchA, "only-b")
		f.get("/v1/orders?mchid="+mchA).wants(t, 403, "mchid")
		f.get("/v1/events?mchid="+mchA).wants(t, 403, "mchid")
		f.get("/v1/events?after="+mchA+"-1-0").wants(t, 403, "mchid")
		f.post("/v1/orders/"+mchA+"/A/withdraw", `{"reason":"x"}`).wants(t, 403, "mchid")
		f.post("/v1/orders", `{"orders":[{"mchid":"`+mchB+`","out_order_no":"GOOD"},{"mchid":"`+mchA+`","out_order_no":"FOREIGN"}]}`).wants(t, 403, "mchid")
		f.get("/v1/orders/"+mchB+"/GOOD").wants(t, 404)
		if a := f.post("/v1/orders/import", "{\"mchid\":\""+mchA+"\",\"out_order_no\":\"FOREIGN\"}\n", "Content-Type: application/x-ndjson"); !strings.Contains(a.Body, `"result":"invalid"`) {
			t.Errorf("%s", a.Body)
		}
		f.as("operator").get("/v1/orders/"+mchA+"/FOREIGN").wants(t, 404)
		var page struct{ Orders []struct{ MchID string } }
		f.get("/v1/orders").into(t, &page)
		if len(page.Orders) != 1 || page.Orders[0].MchID != mchB {
			t.Errorf("%+v", page)
		}
		var stats map[string]any
		if f.get("/v1/stats").into(t, &stats); len(stats) != 1 || stats[mchB] == nil {
			t.Errorf("%+v", stats)
		}
		if a := f.post("/v1/orders", `{"orders":[{"out_order_no":"ITS-OWN"}]}`); !strings.Contains(a.Body, `{"mchid":"`+mchB+`","out_order_no":"ITS-OWN","result":"accepted"`) {
			t.Errorf("%s", a.Body)
		}
	})
	if all := f.logs.String(); strings.Contains(all, "vieweR") || strings.Contains(all, "the admin's token") {
		t.Errorf("the log has a token:\n%s", all)
	}
	refused := f.logs.Events("api_token_refused")
	if len(refused) == 0 || refused[0]["addr"] != "127.0.0.1" {
		t.Errorf("%v", refused)
	}
}

func TestAccess_WrongTokensAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	if a := f.as("billing").get("/v1/stats"); a.Status != 200 {
		t.Fatal(a)
	}
	limited := false
	for range 20 {
		a := f.as("wrong").get("/v1/stats")
		if a.Status == http.StatusTooManyRequests {
			a.wants(t, 429, "wrong tokens")
			limited = a.Header.Get("Retry-After") != ""
			break
		}
		a.wants(t, 401)
	}
	if !limited {
		t.Fatal("wrong tokens are not limited")
	}
	f.as("operator").get("/v1/stats").wants(t, 429) // a right one that this address has not used before
	if a := f.as("billing").get("/v1/stats"); a.Status != 200 {
		t.Errorf("a caller that was let in before: %d", a.Status)
	}
	testkit.Eventually(t, "the address to be let in again", func() bool { return f.as("operator").get("/v1/stats").Status == 200 })
}

// The file is read again when it changes; a file with a fault changes nothing.
func TestAccess_FileChanges(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	write(t, file, tokenItem("first", config.Viewer, "one"))
	f := newFixture(t, func(o *api.Options) { o.TokensFile = file })
	status := func(token string) int { return f.as(token).get("/v1/stats").Status }
	if status("one") != 200 || status("two") != 401 {
		t.Fatal("the file is not in force")
	}
	write(t, file, tokenItem("second", config.Viewer, "two"))
	testkit.Eventually(t, "the new file to be in force", func() bool { return status("one") == 401 || status("one") == 429 })
	if status("two") != 200 && status("two") != 429 {
		t.Errorf("two: %d", status("two"))
	}
	write(t, file, "- {name: third, role: king, token_sha256: \"00\"}\n")
	testkit.Eventually(t, "the fault to be in the log", func() bool {
		status("two")
		lines := f.logs.Events("api_tokens_refused")
		return len(lines) == 1 && strings.Contains(lines[0]["message"].(string), "line 1")
	})
	testkit.Eventually(t, "the former token to be in force", func() bool { return status("two") == 200 })
}

func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body := `{"orders":[]}`
	f.post("/v1/orders", body, "Sec-Fetch-Site: cross-site").wants(t, 403, "Origin")
	f.post("/v1/orders", body, "Origin: http://evil.example").wants(t, 403, "Origin")
	if a := f.post("/v1/orders", body, "Sec-Fetch-Site: same-origin"); a.Status != 200 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	f.post("/v1/orders", body, "Content-Type: text/plain").wants(t, 415, "Content-Type", "application/json")
}

// A token of one merchant reads nothing of another, however the query is written: the
// check and the operation read the same merchant.
func TestAccess_OneMerchantAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens(t))
	f.open(mchA, "SECRET-1")
	f.open(mchB, "OWN-1")
	b := f.as("only-b")
	for _, path := range []string{"/v1/orders", "/v1/stats", "/v1/merchants", "/v1/audit", "/v1/webhooks", "/v1/readers", "/v1/events"} {
		for _, query := range []string{
			"?mchid=" + mchA, "?mchid&mchid=" + mchA, "?mchid=&mchid=" + mchA, "?mchid=" + mchB + "&mchid=" + mchA, "?mchid=%zz&mchid=" + mchA,
			"?mchid=" + mchA + "&mchid=" + mchB, "?%6dchid=" + mchA, "?x;y&mchid=" + mchA, "?mchid=" + mchA + "%zz", "?mchid", "?mchid&mchid=" + mchB,
		} {
			a := b.get(path + query)
			if strings.Contains(a.Body, "SECRET") || a.Status == http.StatusOK && strings.Contains(a.Body, mchA) {
				t.Errorf("%s%s: status %d: %s", path, query, a.Status, a.Body)
			}
		}
	}
}

// Until the worker has found Redis fit, every operation answers 503.
func TestNotTrusted(t *testing.T) {
	t.Parallel()
	trusted := false
	f := newFixture(t, func(o *api.Options) { o.Trusted = func() bool { return trusted } })
	world(f)
	before := f.redis.Client.DBSize(t.Context()).Val()
	for _, o := range operations(t, f.api.Document()) {
		a := f.do(o)
		a.wants(t, http.StatusServiceUnavailable, "is starting", "can be sent again")
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", o.OperationID)
		}
	}
	if after := f.redis.Client.DBSize(t.Context()).Val(); after != before {
		t.Errorf("%d keys, and %d before", after, before)
	}
	trusted = true
	for _, o := range operations(t, f.api.Document()) {
		if a := f.do(o); a.Status >= 300 && a.Status != http.StatusConflict {
			t.Errorf("%s: %d %s", o.OperationID, a.Status, a.Body)
		}
	}
}
