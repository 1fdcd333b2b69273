package main

import (
	"strings"
	"testing"
	"time"

	"payscore-collector/internal/config"
	"payscore-collector/internal/signer"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit"
	"payscore-collector/internal/testkit/workertest"
)

// The worker says at its start which implementation signs, so does worker check, and an
// order is paid whichever it is. A signer that was asked for and does not work is a
// problem of the settings.
func TestSigner(t *testing.T) {
	// An OpenSSL without algorithms, as an operator's openssl.cnf can make it.
	crippled := "OPENSSL_CONF=" + testkit.WriteFile(t, "openssl.cnf", "openssl_conf = init\n[init]\nproviders = providers\n[providers]\nnull = null\n[null]\nactivate = 1\n")
	const (
		notBuilt = "this build has no OpenSSL"
		noRSA    = "OpenSSL: error:"
	)
	built := signer.Version() != ""
	cases := []struct {
		name string
		env  []string
		want string // the signer; empty: the worker does not start
		why  string // what the worker says about the other one
	}{
		{"go", []string{"WECHATPAY_SIGNER=go"}, "go", ""},
		{"auto", nil, "go", notBuilt},
		{"openssl", []string{"WECHATPAY_SIGNER=openssl"}, "", notBuilt},
	}
	if built {
		cases[1].want, cases[1].why = "openssl", ""
		cases[2].want, cases[2].why = "openssl", ""
		cases = append(cases, []struct {
			name string
			env  []string
			want string
			why  string
		}{
			{"auto, and OpenSSL cannot", []string{crippled}, "go", noRSA},
			{"openssl, and OpenSSL cannot", []string{crippled, "WECHATPAY_SIGNER=openssl"}, "", noRSA},
		}...)
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := workertest.New(t)
			if tc.want == "" {
				if status := start(t, r, nil, tc.env...).Exit(time.Minute); status != config.ExitUsage {
					t.Errorf("exit status %d", status)
				}
				if out := r.Logs.String(); !strings.Contains(out, `"setting":"WECHATPAY_SIGNER"`) || !strings.Contains(out, tc.why) {
					t.Errorf("the setting and %q are not named:\n%s", tc.why, out)
				}
				return
			}
			r.Add(simulator.Order{OutOrderNo: "SIGNED", Fate: simulator.FatePays})
			r.Enqueue("SIGNED")
			start(t, r, nil, tc.env...)
			r.AllEnded()
			if paid(r) != 1 {
				t.Errorf("%d orders are paid", paid(r))
			}
			out := r.Logs.String()
			if !strings.Contains(out, `"signer":"`+tc.want+`"`) {
				t.Errorf("the start does not say that %s signs:\n%s", tc.want, out)
			}
			fallback, times := "", 0
			for line := range strings.Lines(out) {
				if strings.Contains(line, `"event":"signer_fallback"`) {
					fallback, times = line, times+1
				}
			}
			if (times == 1) != (tc.why != "") || times > 1 || !strings.Contains(fallback, tc.why) {
				t.Errorf("%d lines of the event, the last %s; want %q", times, fallback, tc.why)
			}
			start(t, r, []string{"check"}, tc.env...).Exit(time.Minute)
			if out := r.Logs.String(); !strings.Contains(out, " signer: "+tc.want+": ") {
				t.Errorf("worker check does not say what signs:\n%s", out)
			}
		})
	}
}
