package payscore

import (
	"strings"
	"sync"
	"testing"

	"payscore-collector/internal/simulator"
)

// A merchant who has the public key, and whose replies WeChat Pay still signs with a
// platform certificate: the change to the public key was stopped.
func TestRepliesSignedByCertificateDespiteAPublicKey(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, faults simulator.Faults, change ...func(*Config)) (*certPlatform, *Client) {
		t.Parallel()
		p := newCertPlatform(t)
		faults.SignByCertificate, faults.OrderGap = true, new(simulator.Duration)
		if err := p.SetFaults(faults); err != nil {
			t.Fatal(err)
		}
		return p, p.client(t, true, change...)
	}
	missing := func(p *certPlatform) Request {
		r := p.request()
		r.OutOrderNo = "NONE"
		return r
	}

	t.Run("are verified with the certificate, which is downloaded once", func(t *testing.T) {
		p, client := start(t, simulator.Faults{})
		p.wantDownloads(t, 0)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { p.wantQuery(t, client, Owed) })
		}
		all.Wait()
		if r := client.Collect(t.Context(), p.request()); r.Verdict != Accepted || !r.Verified {
			t.Errorf("the collect came to %s (verified: %t), want accepted, verified", r.Verdict, r.Verified)
		}
		p.wantQuery(t, client, Paid)
		if r := client.Query(t.Context(), missing(p)); r.Verdict != NotFound || !r.Verified || r.Forged {
			t.Errorf("a signed error: %+v, want not_found, verified", r)
		}
		p.wantDownloads(t, 1)
		if err := p.SetFaults(simulator.Faults{}); err != nil {
			t.Fatal(err)
		}
		p.wantQuery(t, client, Paid) // under the public key again
	})
	t.Run("a wrong signature under the certificate's name is refused", func(t *testing.T) {
		p, client := start(t, simulator.Faults{WrongSignature: 1})
		if r := client.Query(t.Context(), p.request()); r.Verdict != Unknown || r.Verified || !r.Forged || r.NeedsAPIV3Key {
			t.Errorf("%+v, want unknown, forged", r)
		}
	})
	t.Run("without an APIv3 key nothing is believed, and the reply says that the key is missing", func(t *testing.T) {
		p, client := start(t, simulator.Faults{}, func(c *Config) { c.APIV3Key = "" })
		r := client.Query(t.Context(), p.request())
		if r.Verdict != Unknown || r.Verified || r.Order != nil || !r.NeedsAPIV3Key || !strings.Contains(r.Message, "set WECHATPAY_API_V3_KEY") {
			t.Errorf("%+v, want unknown, and that WECHATPAY_API_V3_KEY must be set", r)
		}
		if r := client.Query(t.Context(), missing(p)); r.Verified || !r.NeedsAPIV3Key {
			t.Errorf("a signed error: %+v, want NeedsAPIV3Key", r)
		}
	})
	for name, tt := range map[string]struct {
		answer  *certAnswer
		message string
	}{
		"a certificate that cannot be downloaded is named, and tried once a minute": {denied, "could not be downloaded"},
		"a name that no certificate has is refused":                                 {none, ""}, // an account that was opened with a public key
	} {
		t.Run(name, func(t *testing.T) {
			p, client := start(t, simulator.Faults{})
			p.answer.Store(tt.answer)
			for range 5 {
				if r := client.Query(t.Context(), p.request()); r.Verdict != Unknown || r.Verified || !strings.Contains(r.Message, tt.message) {
					t.Errorf("%+v, want unknown: %s", r, tt.message)
				}
			}
			p.wantDownloads(t, 1)
		})
	}
}
