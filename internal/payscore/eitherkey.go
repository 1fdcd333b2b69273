package payscore

import (
	"context"
	"errors"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core/auth"
)

// eitherKey verifies under the WeChat Pay public key, or under the platform
// certificate that a message names. WeChat Pay signs with certificates while a
// merchant changes to the public key, and again if the change is stopped.
type eitherKey struct {
	public  auth.Verifier
	certs   *platformCerts // nil without an APIv3 key
	timeout time.Duration  // of a download
}

// errCertificateSigned: the message names a platform certificate, which cannot be
// downloaded without an APIv3 key.
var errCertificateSigned = errors.New("WeChat Pay signs with a platform certificate, which is downloaded with the APIv3 key: set WECHATPAY_API_V3_KEY")

// Verify implements auth.Verifier. Certificates are downloaded when a message
// first names one, at most once a minute.
func (v *eitherKey) Verify(ctx context.Context, serial, message, signature string) error {
	switch {
	case !certificateSerial.MatchString(serial):
		return v.public.Verify(ctx, serial, message, signature)
	case v.certs == nil:
		return errCertificateSigned
	}
	if err := v.certs.seek(ctx, serial, v.timeout); err != nil {
		return err
	}
	return v.certs.Verify(ctx, serial, message, signature)
}

// GetSerial implements auth.Verifier: WeChat Pay is asked to sign under the
// public key.
func (v *eitherKey) GetSerial(ctx context.Context) (string, error) { return v.public.GetSerial(ctx) }
