package payscore

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"github.com/wechatpay-apiv3/wechatpay-go/core/auth"
)

// merchantSigner signs a merchant's requests. It implements the SDK's auth.Signer,
// whose own implementation has Go's crypto/rsa only.
type merchantSigner struct {
	mchid, serialNo string
	key             crypto.Signer
}

// Sign implements auth.Signer.
func (s *merchantSigner) Sign(_ context.Context, message string) (*auth.SignatureResult, error) {
	digest := sha256.Sum256([]byte(message))
	signature, err := s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return &auth.SignatureResult{
		MchID: s.mchid, CertificateSerialNo: s.serialNo, Signature: base64.StdEncoding.EncodeToString(signature),
	}, nil
}

// Algorithm implements auth.Signer.
func (*merchantSigner) Algorithm() string { return "SHA256-RSA2048" }
