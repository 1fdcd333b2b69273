package simulator

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Defaults of [Options]: values of the platform's form that no real merchant
// has.
const (
	DefaultMchID     = "1900000109"
	DefaultAppID     = "wxd678efh567hg6787"
	DefaultServiceID = "500001"
	DefaultKeyBits   = 2048
)

// Merchant is what a merchant needs to call the platform.
type Merchant struct {
	MchID     string
	AppID     string
	ServiceID string
	// SerialNo is the serial number of the merchant's API certificate.
	SerialNo string
	// PrivateKey signs the merchant's requests.
	PrivateKey *rsa.PrivateKey
	// APIv3Key decrypts what the platform encrypts; 32 bytes.
	APIv3Key string
	// PublicKeyID and PublicKey verify the platform's signatures.
	PublicKeyID string
	PublicKey   *rsa.PublicKey
	// Certificate holds the same PublicKey, for clients that verify with
	// platform certificates; CertificateSerialNo is its serial number.
	Certificate         *x509.Certificate
	CertificateSerialNo string
}

// PrivateKeyPEM is the merchant's private key as PKCS#8 PEM, the form of the
// apiclient_key.pem that WeChat Pay hands out.
func (m Merchant) PrivateKeyPEM() (string, error) { return privateKeyPEM(m.PrivateKey) }

// PublicKeyPEM is the platform's public key as PKIX PEM, the form of the
// pub_key.pem that WeChat Pay hands out.
func (m Merchant) PublicKeyPEM() (string, error) {
	der, err := x509.MarshalPKIXPublicKey(m.PublicKey)
	if err != nil {
		return "", fmt.Errorf("encode the platform's public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// CertificatePEM is the platform certificate as PEM.
func (m Merchant) CertificatePEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Certificate.Raw}))
}

func privateKeyPEM(key *rsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encode a private key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// identity is the merchant together with the platform's half of the keys.
type identity struct {
	Merchant
	platformKey *rsa.PrivateKey
	signer      crypto.Signer // signs with platformKey
}

// keyPair is the two private keys of one simulator.
type keyPair struct{ merchant, platform *rsa.PrivateKey }

// sharedKeys makes one key pair for each key size once a process: an RSA
// key takes a good part of a second, and hundreds of tests need one.
var sharedKeys sync.Map // int -> func() (keyPair, error)

func keysOf(bits int, fresh bool) (keyPair, error) {
	if fresh {
		return makeKeys(bits)
	}
	once, _ := sharedKeys.LoadOrStore(bits, sync.OnceValues(func() (keyPair, error) { return makeKeys(bits) }))
	return once.(func() (keyPair, error))()
}

func makeKeys(bits int) (keyPair, error) {
	merchant, err := rsa.GenerateKey(rand.Reader, DefaultKeyBits)
	if err != nil {
		return keyPair{}, fmt.Errorf("make the merchant's key: %w", err)
	}
	platform, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return keyPair{}, fmt.Errorf("make the platform's key of %d bits: %w", bits, err)
	}
	return keyPair{merchant, platform}, nil
}

// newIdentity invents a merchant and a platform.
func newIdentity(opts Options) (identity, error) {
	keys, err := keysOf(opts.KeyBits, opts.FreshKeys)
	if err != nil {
		return identity{}, err
	}
	cert, err := platformCertificate(keys.platform)
	if err != nil {
		return identity{}, err
	}
	return identity{
		Merchant: Merchant{
			MchID: opts.MchID, AppID: opts.AppID, ServiceID: opts.ServiceID,
			SerialNo:            randomHex(20),
			PrivateKey:          keys.merchant,
			APIv3Key:            randomHex(16),
			PublicKeyID:         "PUB_KEY_ID_01" + opts.MchID + time.Now().In(chinaTime).Format(bodyTime) + randomHex(4),
			PublicKey:           &keys.platform.PublicKey,
			Certificate:         cert,
			CertificateSerialNo: certificateSerial(cert),
		},
		platformKey: keys.platform,
		signer:      keys.platform,
	}, nil
}

// platformCertificate makes a self-signed certificate for the platform's key.
// The real one is signed by an authority, but clients trust it because the
// APIv3 key decrypts it, not because of who signed it.
func platformCertificate(key *rsa.PrivateKey) (*x509.Certificate, error) {
	serial := make([]byte, 20)
	_, _ = rand.Read(serial)          // crypto/rand.Read never fails
	serial[0] = serial[0]&0x3f | 0x40 // positive, and always 40 hex digits
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: "Simulated Tenpay.com sign", Country: []string{"CN"}},
		NotBefore:    now.Add(-24 * time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the platform certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back the platform certificate: %w", err)
	}
	return cert, nil
}

func certificateSerial(cert *x509.Certificate) string {
	return strings.ToUpper(hex.EncodeToString(cert.SerialNumber.Bytes()))
}

// randomHex is n random bytes as upper-case hex.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return strings.ToUpper(hex.EncodeToString(b))
}
