package config

import (
	"strings"
	"testing"
)

func TestCollector_scrubs(t *testing.T) {
	var c Collector
	c.Problem("A", "is %q: write %q", testAPIKey, "08:00")
	c.Warn("B", "names %q, which every user can read", "/merchant/"+testAPIKey)
	wantProblems(t, c.Err(), `A is (a value that may be a secret, not repeated here): write "08:00"`)
	if w := c.Warnings(); len(w) != 1 || w[0] != "B names (a value that may be a secret, not repeated here), which every user can read" {
		t.Errorf("warnings are %q", w)
	}
}

func TestParse_repairsAndRefuses(t *testing.T) {
	key := string(pemOf("PRIVATE KEY", pkcs8(merchantKey())))
	public := string(pemOf("PUBLIC KEY", publicDER(platformKey().Public())))

	t.Run("a secret in the wrong place is named with what belongs there", func(t *testing.T) {
		env := merged(goodEnv(t), map[string]string{
			"WECHATPAY_PRIVATE_KEY_FILE": key,
			"WECHATPAY_PUBLIC_KEY_FILE":  strings.ReplaceAll(public, "\n", `\n`),
			"WECHATPAY_SERIAL_NO":        strings.ReplaceAll(key, "\n", " "),
			"WECHATPAY_API_V3_KEY":       testAPIKey,
			"PAYSCORE_APPID":             testAPIKey,
			"CALL_TIMEOUT":               "15s " + testAPIKey,
			"COLLECT_TIMEZONE":           "Asia\x1b[2J",
			"LOG_FORMAT":                 "json\nxml",
		})
		_, err := loadWorker(t, env)
		wantProblems(t, err,
			"PAYSCORE_APPID holds the value of WECHATPAY_API_V3_KEY or a part of it, which does not belong here: look into the environment",
			"WECHATPAY_SERIAL_NO holds a private key, which does not belong here: WECHATPAY_PRIVATE_KEY takes the text of the key, WECHATPAY_PRIVATE_KEY_FILE the path of its file",
			"WECHATPAY_PRIVATE_KEY_FILE holds a private key, which does not belong here: it takes the path of a file; WECHATPAY_PRIVATE_KEY takes the text itself",
			"WECHATPAY_PUBLIC_KEY_FILE holds a public key, which does not belong here: it takes the path of a file; WECHATPAY_PUBLIC_KEY takes the text itself",
			"CALL_TIMEOUT holds the value of WECHATPAY_API_V3_KEY or a part of it",
			"COLLECT_TIMEZONE holds a control character",
			"LOG_FORMAT holds several lines",
		)
	})

	t.Run("so it is in a merchants file", func(t *testing.T) {
		path := writeFile(t, t.TempDir(), "m.yaml", []byte("- mchid: 1900000001\n  serial_no: "+testAPIKey+"\n  api_v3_key: "+testAPIKey+
			"\n  private_key_file: |\n    "+strings.ReplaceAll(key, "\n", "\n    ")+"\n"))
		_, err := loadWorker(t, map[string]string{"REDIS_URL": "redis://cache", "MERCHANTS_FILE": path})
		line := "MERCHANTS_FILE " + path + ", line 1: "
		wantProblems(t, err,
			line+"serial_no holds the value of api_v3_key or a part of it, which does not belong here: look at the lines of this merchant",
			line+"private_key_file holds a private key, which does not belong here: it takes the path of a file; private_key takes the text itself")
	})

	t.Run("the APIv3 key for the path of its file", func(t *testing.T) {
		_, err := loadWorker(t, merged(goodEnv(t), map[string]string{"WECHATPAY_API_V3_KEY_FILE": testAPIKey}))
		wantProblems(t, err, "WECHATPAY_API_V3_KEY_FILE does not hold the path of a file, but perhaps the secret itself: WECHATPAY_API_V3_KEY takes that")
	})

	t.Run("secrets that this command does not read are known all the same", func(t *testing.T) {
		var s struct{ ClientSettings }
		env := map[string]string{"REDIS_URL": "redis://cache", "ADMIN_TOKEN": "correct horse battery", "WECHATPAY_MCHID": "correct horse battery"}
		_, err := s.Load(parse(t, &s, env).found, true)
		wantProblems(t, err, "WECHATPAY_MCHID holds the value of ADMIN_TOKEN or a part of it")
	})

	t.Run("a short password is no reason to refuse what has the same word in it", func(t *testing.T) {
		env := goodEnv(t)
		env["REDIS_URL"] = "redis://:apiclient@127.0.0.1:6379/1"
		if _, err := loadWorker(t, env); err != nil {
			t.Error(err)
		}
	})

	t.Run("Windows line ends are one problem, and hide no other", func(t *testing.T) {
		env := goodEnv(t)
		for name := range env {
			env[name] += "\r"
		}
		env["WECHATPAY_MCHID"] = "19O0\r"
		_, err := loadWorker(t, env)
		wantProblems(t, err,
			"REDIS_URL has a carriage return at its end, and so have WECHATPAY_MCHID, PAYSCORE_APPID, PAYSCORE_SERVICE_ID, WECHATPAY_SERIAL_NO, WECHATPAY_PRIVATE_KEY_FILE, WECHATPAY_PUBLIC_KEY_ID, WECHATPAY_PUBLIC_KEY_FILE: the file that sets the environment has Windows line ends; convert it",
			`WECHATPAY_MCHID is "19O0"`)
	})

	t.Run("quotes that docker's --env-file keeps", func(t *testing.T) {
		env := goodEnv(t)
		env["REDIS_URL"], env["COLLECT_WINDOW"] = `"`+env["REDIS_URL"]+`"`, `'always'`
		env["WECHATPAY_PRIVATE_KEY"] = `"` + strings.ReplaceAll(key, "\n", `\n`) + `"` // a key's reader takes them
		delete(env, "WECHATPAY_PRIVATE_KEY_FILE")
		_, err := loadWorker(t, env)
		wantProblems(t, err, "REDIS_URL has quotes around its value, and so have COLLECT_WINDOW: docker's --env-file, among others, keeps them")
	})

	t.Run("a line end at the end of a secret is ignored", func(t *testing.T) {
		env := merged(goodEnv(t), map[string]string{"WECHATPAY_API_V3_KEY": testAPIKey + "\n", "ADMIN_TOKEN": "token\r\n", "COLLECT_RATE": "5\n"})
		w, err := loadWorker(t, env)
		if err != nil || w.Merchants[0].APIV3Key.Reveal() != testAPIKey || w.AdminToken.Reveal() != "token" || w.Rate != 5 {
			t.Errorf("error %v, settings %v", err, w.Settings())
		}
	})

	t.Run("a byte order mark before the first variable", func(t *testing.T) {
		env := goodEnv(t)
		env["\ufeffWECHATPAY_MCHID"] = env["WECHATPAY_MCHID"]
		delete(env, "WECHATPAY_MCHID")
		_, err := loadWorker(t, env)
		wantProblems(t, err, "WECHATPAY_MCHID has a byte order mark before its name, so that no program finds it: save the file")
	})
}

func TestMisspeltVariables(t *testing.T) {
	env := merged(goodEnv(t), map[string]string{
		"WECHATPAY_MCH_ID": "1", "WECHATPAY_NOTIFY_URL": "https://x", "COLLECT_SCHEDUEL": "1h", "REDIS_URI": "redis://x",
		"PUBLC_ADDR": ":1", "CONFIRM_SCHEDULES": "1s", "WORKER_CONCURENCY": "9", "BILLING_WEBHOOK": "https://x", "GIVEUP_AFTER": "1h",
		// Not ours:
		"REDIS_PORT": "6379", "REDIS_SERVICE_HOST": "10.0.0.1", "REDIS_PORT_6379_TCP_ADDR": "10.0.0.1", "DATABASE_HOST": "db", "PATH": "/bin",
		"LOG_FILE": "x", "ADMIN_EMAIL": "a@b", "WORKER_ID": "7", "HOME": "/root", "REDIS_MAXMEMORY": "1gb", "PAYSCORE_TEST_AS_WORKER": "1",
		// Another command's:
		"DATABASE_URL": "postgres://x", "DATABASE_URL_FILE": "-",
		// Set to nothing:
		"COLLECT_WINDOWS": "",
	})
	w, err := loadWorker(t, env)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"BILLING_WEBHOOK is set, but there is no such setting; BILLING_WEBHOOK_URL is the nearest",
		"COLLECT_SCHEDUEL is set, but there is no such setting; COLLECT_SCHEDULE is the nearest",
		"CONFIRM_SCHEDULES is set, but there is no such setting; CONFIRM_SCHEDULE is the nearest",
		"GIVEUP_AFTER is set, but there is no such setting; GIVE_UP_AFTER is the nearest",
		"PUBLC_ADDR is set, but there is no such setting; PUBLIC_ADDR is the nearest",
		"REDIS_URI is set, but there is no such setting; REDIS_URL is the nearest",
		"WECHATPAY_MCH_ID is set, but there is no such setting; WECHATPAY_MCHID is the nearest",
		"WECHATPAY_NOTIFY_URL is set, but there is no such setting; WECHATPAY_BASE_URL is the nearest",
		"WORKER_CONCURENCY is set, but there is no such setting; WORKER_CONCURRENCY is the nearest",
	}
	if got := strings.Join(w.Warnings, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("warnings are\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
