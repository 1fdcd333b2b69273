package worker_test

import (
	"bytes"
	"strings"
	"testing"

	"payscore-collector/internal/config"
	"payscore-collector/internal/simulator"
	"payscore-collector/internal/testkit/workertest"
	"payscore-collector/internal/worker"
)

// WeChat Pay signs with platform certificates again for a merchant who has set its
// public key: the orders end all the same.
func TestOrdersEndUnderPlatformCertificatesToo(t *testing.T) {
	t.Parallel()
	r := workertest.New(t)
	if err := r.Sim.SetFaults(simulator.Faults{SignByCertificate: true}); err != nil {
		t.Fatal(err)
	}
	nos := workertest.Numbers("CERT", 5)
	for _, no := range nos {
		r.Add(simulator.Order{OutOrderNo: no})
	}
	r.Enqueue(nos...)
	r.Work()
	r.AllEnded()
	r.Audit()
}

func TestCheckAsksForTheAPIv3KeyWhereCertificatesSign(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		key  bool
		want string
	}{
		"with the key":    {true, "our key verifies it"},
		"without the key": {false, "signed with a platform certificate, although a public key is set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := workertest.New(t)
			if err := r.Sim.SetFaults(simulator.Faults{SignByCertificate: true}); err != nil {
				t.Fatal(err)
			}
			if !tt.key {
				r.Cfg.Merchants[0].APIV3Key = config.Secret{}
			}
			var out bytes.Buffer
			worker.Check(t.Context(), r.Cfg, nil, &out)
			text := out.String()
			if !strings.Contains(text, tt.want) || strings.Contains(text, "set WECHATPAY_API_V3_KEY, with which") == tt.key {
				t.Errorf("%s", text)
			}
		})
	}
}
