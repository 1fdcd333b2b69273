package payscore

import (
	"strings"
	"sync"
	"testing"

	"payscore-collector/internal/simulator"
)

// A merchant who has the public key, and whose replies WeChat Pay signs with a
// platform certificate all the same: the move to the public key was stopped.
func TestRepliesSignedByCertificateDespiteAPublicKey(t *testing.T) {
	t.Parallel()
	setUp := func(t *testing.T, faults simulator.Faults) *certPlatform {
		t.Helper()
		p := newCertPlatform(t)
		zero := simulator.Duration(0)
		faults.OrderGap = &zero
		if err := p.SetFaults(faults); err != nil {
			t.Fatal(err)
		}
		return p
	}
	withPublicKey := func(p *certPlatform) func(*Config) {
		return func(c *Config) { c.PublicKeyID, c.PublicKey = p.Merchant().PublicKeyID, p.Merchant().PublicKey }
	}
	withoutAPIV3Key := func(c *Config) { c.APIV3Key = "" }
	byCertificate := simulator.Faults{SignByCertificate: true}

	t.Run("are verified with the certificate, which is downloaded once", func(t *testing.T) {
		t.Parallel()
		p := setUp(t, byCertificate)
		client := p.client(t, withPublicKey(p))
		if n := p.downloads.Load(); n != 0 {
			t.Errorf("%d downloads before it was named", n)
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if r := client.Query(t.Context(), p.request()); r.Verdict != Owed || !r.Verified {
					t.Errorf("query: %+v", r)
				}
			})
		}
		all.Wait()
		if r := client.Collect(t.Context(), p.request()); r.Verdict != Accepted || !r.Verified {
			t.Errorf("collect: %+v", r)
		}
		if r := client.Query(t.Context(), p.request()); r.Verdict != Paid || !r.Verified {
			t.Errorf("query of a paid order: %+v", r)
		}
		unknown := p.request()
		unknown.OutOrderNo = "NONE"
		if r := client.Query(t.Context(), unknown); r.Verdict != NotFound || !r.Verified || r.Forged {
			t.Errorf("a signed error: %+v", r)
		}
		if n := p.downloads.Load(); n != 1 {
			t.Errorf("%d downloads", n)
		}
		if err := p.SetFaults(simulator.Faults{}); err != nil {
			t.Fatal(err)
		}
		if r := client.Query(t.Context(), p.request()); r.Verdict != Paid || !r.Verified {
			t.Errorf("under the public key again: %+v", r)
		}
	})
	t.Run("a wrong signature under the certificate's name is refused", func(t *testing.T) {
		t.Parallel()
		p := setUp(t, simulator.Faults{SignByCertificate: true, WrongSignature: 1})
		if r := p.client(t, withPublicKey(p)).Query(t.Context(), p.request()); r.Verdict != Unknown || r.Verified || !r.Forged || r.NeedsAPIV3Key {
			t.Errorf("%+v", r)
		}
	})
	t.Run("without an APIv3 key nothing is believed, and the key is asked for", func(t *testing.T) {
		t.Parallel()
		p := setUp(t, byCertificate)
		client := p.client(t, withPublicKey(p), withoutAPIV3Key)
		r := client.Query(t.Context(), p.request())
		if r.Verdict != Unknown || r.Verified || r.Order != nil || !r.NeedsAPIV3Key || !strings.Contains(r.Message, "set WECHATPAY_API_V3_KEY") {
			t.Errorf("%+v", r)
		}
		unknown := p.request()
		unknown.OutOrderNo = "NONE"
		if r := client.Query(t.Context(), unknown); r.Verified || !r.NeedsAPIV3Key {
			t.Errorf("a signed error: %+v", r)
		}
	})
	t.Run("a certificate that cannot be downloaded is said, and asked for once a minute", func(t *testing.T) {
		t.Parallel()
		p := setUp(t, byCertificate)
		p.deny.Store(true)
		client := p.client(t, withPublicKey(p))
		for range 5 {
			if r := client.Query(t.Context(), p.request()); r.Verdict != Unknown || r.Verified || !strings.Contains(r.Message, "could not be downloaded") {
				t.Errorf("%+v", r)
			}
		}
		if n := p.downloads.Load(); n != 1 {
			t.Errorf("%d downloads", n)
		}
	})
	t.Run("a name that no certificate has is refused", func(t *testing.T) {
		t.Parallel()
		p := setUp(t, byCertificate)
		p.none.Store(true) // an account that was opened with a public key
		client := p.client(t, withPublicKey(p))
		for range 5 {
			if r := client.Query(t.Context(), p.request()); r.Verdict != Unknown || r.Verified {
				t.Errorf("%+v", r)
			}
		}
		if n := p.downloads.Load(); n != 1 {
			t.Errorf("%d downloads", n)
		}
	})
}
