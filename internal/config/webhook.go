package config

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// Webhook says where the final states of orders are sent, and what signs them. Both
// are set, or neither.
type Webhook struct {
	URL    Secret // http or https, with a host; its other parts may be secret
	Host   string // the part of URL that may be shown: scheme and host
	Secret Secret // whsec_ and base64 of 24 to 64 bytes
}

// On reports whether webhooks are sent.
func (w Webhook) On() bool { return w.URL.IsSet() }

// The lengths of a key, in bytes, that Standard Webhooks allow.
const (
	leastWebhookKey = 24
	mostWebhookKey  = 64
)

const webhookPrefix = "whsec_"

// Resolve checks the two settings of webhooks. No problem quotes them: a URL may have
// a token in it.
func (f WebhookFlags) Resolve(c *Collector) Webhook {
	const urlSetting, secretSetting = "BILLING_WEBHOOK_URL", "BILLING_WEBHOOK_SECRET"
	secret := f.WebhookSecret
	var w Webhook
	if f.WebhookURL.IsSet() {
		u, err := url.Parse(f.WebhookURL.Reveal())
		switch {
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
			c.Problem(urlSetting, "is not a URL of the form https://HOST/PATH")
		case u.Port() == "" && secretHost(u.Hostname()):
			c.Problem(urlSetting, "has a host that looks like a secret: write https://HOST/PATH")
		case u.Fragment != "":
			c.Problem(urlSetting, "has a # and something behind it, which is never sent: leave it out, or write %%23 for a # that is meant")
		default:
			w.URL, w.Host = f.WebhookURL, u.Scheme+"://"+u.Host
			if _, near := whereIs(u.Hostname()); u.Scheme == "http" && !near {
				c.Warn(urlSetting, "is not https: anyone on the network path can read what users owe and pay")
			}
		}
		if !secret.IsSet() && !secret.bad {
			c.Problem(secretSetting, "is missing: webhooks must be signed; write whsec_ and 24 to 64 random bytes in base64, for instance by: echo \"whsec_$(openssl rand -base64 32)\"")
		}
	}
	if !secret.IsSet() {
		return w
	}
	if !f.WebhookURL.IsSet() {
		c.Problem(urlSetting, "is missing: %s is set, which signs what is sent there; set both, or neither", secretSetting)
	}
	key, prefixed := strings.CutPrefix(secret.Reveal(), webhookPrefix)
	b, err := base64.StdEncoding.DecodeString(key)
	switch {
	case !prefixed:
		c.Problem(secret.blame, "does not begin with whsec_: write whsec_ and the key in base64")
	case err != nil:
		c.Problem(secret.blame, "is not base64 behind whsec_: write 24 to 64 random bytes in standard base64, with = at the end where it belongs")
	case len(b) < leastWebhookKey || len(b) > mostWebhookKey:
		c.Problem(secret.blame, "has a key of %d bytes: Standard Webhooks asks for %d to %d", len(b), leastWebhookKey, mostWebhookKey)
	default:
		w.Secret = secret.Secret
	}
	return w
}
