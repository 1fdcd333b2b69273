package worker

import (
	"crypto/rsa"
	"errors"

	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/signer"
)

// chooseSigner returns what signs the calls of this process, and logs why it is Go's
// crypto/rsa where WECHATPAY_SIGNER leaves the choice.
func chooseSigner(cfg config.Worker, log zerolog.Logger) string {
	name, why := signer.Choose(cfg.Signer, privateKeys(cfg)...)
	if why == nil {
		return name
	}
	line := log.Warn()
	if errors.Is(why, signer.ErrNotBuilt) {
		line = log.Info()
	}
	line.Str(logging.FieldEvent, "signer_fallback").Err(why).Msg("signing with Go's crypto/rsa")
	return name
}

// CanSign reports a signer that was asked for and cannot sign with every key, and
// returns all problems of the settings. Only the worker can know: other commands are
// built without signers.
func CanSign(cfg config.Worker, c *config.Collector) error {
	if cfg.Signer == signer.OpenSSL {
		if name, why := signer.Choose(cfg.Signer, privateKeys(cfg)...); why != nil {
			c.Problem("WECHATPAY_SIGNER", "is openssl, and %v: use the Docker image or a build with -tags openssl, or write auto, which falls back to %s", why, name)
		}
	}
	return c.Err()
}

// checkSigner prints what would sign.
func checkSigner(cfg config.Worker, c *checklist) {
	keys := privateKeys(cfg)
	if len(keys) == 0 {
		return // the settings have named what is missing
	}
	switch name, why := signer.Choose(cfg.Signer, keys...); {
	case name == signer.OpenSSL:
		c.ok("signer", "openssl: %s signs, and Go verifies what it signs", signer.Version())
	case why == nil || errors.Is(why, signer.ErrNotBuilt):
		c.ok("signer", "go: Go's crypto/rsa signs; OpenSSL takes less processor time, and the Docker image has it")
	default:
		c.warn("signer", "go: Go's crypto/rsa signs, because OpenSSL does not: %v", why)
	}
}

func privateKeys(cfg config.Worker) (keys []*rsa.PrivateKey) {
	for _, m := range cfg.Merchants {
		if m.PrivateKey != nil {
			keys = append(keys, m.PrivateKey)
		}
	}
	return keys
}
