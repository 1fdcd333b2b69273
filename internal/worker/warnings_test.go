package worker

import (
	"strings"
	"testing"

	"payscore-collector/internal/config"
	"payscore-collector/internal/simulator"
)

func TestTrialSettings(t *testing.T) {
	if simulatorMchID != simulator.DefaultMchID {
		t.Errorf("the simulator's merchant is %s", simulator.DefaultMchID)
	}
	const wechat, foreign = config.DefaultBaseURL, "https://wechatpay.example"
	for _, tc := range []struct {
		name, mchid, url string
		always           bool
		want             []string // the beginnings
	}{
		{"a merchant as it should be", "1900000001", wechat, false, nil},
		{"a real merchant at night", "1900000001", wechat, true, []string{"COLLECT_WINDOW is always"}},
		{"a real merchant elsewhere", "1900000001", foreign, false, []string{"WECHATPAY_BASE_URL is https://wechatpay.example, which is not WeChat Pay's, and merchant 1900000001"}},
		{"both", "1900000001", foreign, true, []string{"WECHATPAY_BASE_URL", "COLLECT_WINDOW"}},
		{"a host that only looks alike", "1900000001", "https://api.mch.weixin.qq.com.example", false, []string{"WECHATPAY_BASE_URL"}},
		{"a simulator on this machine with another number", "1900000001", "http://127.0.0.1:8090", true, nil},
		{"the simulator in Compose", simulatorMchID, "http://simulator:8090", true, nil},
		{"what could not be read", "", "", true, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config.Worker{Merchants: []config.Merchant{{MchID: tc.mchid, BaseURL: tc.url}}}
			cfg.Window.Always = tc.always
			got := trialSettings(cfg)
			if len(got) != len(tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tc.want[i]) {
					t.Errorf("got %q, want a sentence that begins with %q", got[i], tc.want[i])
				}
			}
		})
	}
}
