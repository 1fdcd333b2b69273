package worker

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"payscore-collector/internal/config"
)

// simulatorMchID is the default number of the simulator's merchant.
const simulatorMchID = "1900000109"

// trialSettings returns a sentence for each setting that is right for a trial, and
// hardly for a merchant whose users are charged: it may have been copied from a trial.
func trialSettings(cfg config.Worker) []string {
	var all []string
	night := false
	for _, m := range cfg.Merchants {
		if m.MchID == simulatorMchID || m.MchID == "" {
			continue
		}
		host := hostOf(m.BaseURL)
		if isLoopback(host) {
			continue // a simulator on this machine
		}
		night = night || cfg.Window.Always
		if host != "mch.weixin.qq.com" && !strings.HasSuffix(host, ".mch.weixin.qq.com") {
			all = append(all, fmt.Sprintf("WECHATPAY_BASE_URL is %s, which is not WeChat Pay's, and merchant %s is not the simulator's: signed calls for it go to that host", m.BaseURL, m.MchID))
		}
	}
	if night {
		all = append(all, "COLLECT_WINDOW is always, and the merchant is not the simulator's: users are charged at night too; the default is 08:00-22:00")
	}
	return all
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
