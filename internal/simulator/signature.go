package simulator

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	signatureType = "WECHATPAY2-SHA256-RSA2048"

	headerSerial    = "Wechatpay-Serial"
	headerSignature = "Wechatpay-Signature"
	headerTimestamp = "Wechatpay-Timestamp"
	headerNonce     = "Wechatpay-Nonce"
	headerSigType   = "Wechatpay-Signature-Type"
	headerRequestID = "Request-ID"
)

// signProbe begins the deliberately wrong signatures with which the platform tests
// whether a merchant verifies them.
const signProbe = "WECHATPAY/SIGNTEST/"

// signing is how a reply or a notification is signed.
type signing int

const (
	signGood signing = iota
	signWrong
	signNone
)

// sign puts the signature of body into h, as made at the given time.
func (id identity) sign(h http.Header, body []byte, how signing, serial string, at time.Time) error {
	if how == signNone {
		return nil
	}
	timestamp := strconv.FormatInt(at.Unix(), 10)
	nonce := randomHex(16)
	signature, err := id.signature(timestamp, nonce, body, how)
	if err != nil {
		return err
	}
	h.Set(headerTimestamp, timestamp)
	h.Set(headerNonce, nonce)
	h.Set(headerSignature, signature)
	h.Set(headerSerial, serial)
	h.Set(headerSigType, signatureType)
	return nil
}

func (id identity) signature(timestamp, nonce string, body []byte, how signing) (string, error) {
	if how == signWrong {
		fake := make([]byte, id.platformKey.Size())
		_, _ = rand.Read(fake) // crypto/rand.Read never fails
		return signProbe + base64.StdEncoding.EncodeToString(fake), nil
	}
	digest := sha256.New()
	fmt.Fprintf(digest, "%s\n%s\n%s\n", timestamp, nonce, body)
	sig, err := id.signer.Sign(rand.Reader, digest.Sum(nil), crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign as the platform: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// serialFor returns the serial number that a reply names: the certificate's where
// the client says that it verifies with it, else the public key's.
func (id identity) serialFor(r *http.Request, c Call, f Faults) string {
	switch asked := r.Header.Get(headerSerial); {
	case f.SignByCertificate, asked == id.CertificateSerialNo, asked == "" && c == CallCertificates:
		// A client that downloads certificates and names no key has no key yet.
		return id.CertificateSerialNo
	default:
		return id.PublicKeyID
	}
}

// notifySerial returns the serial number that a notification names.
func (id identity) notifySerial(n Notifications) string {
	if n.Serial == SerialCertificate {
		return id.CertificateSerialNo
	}
	return id.PublicKeyID
}

// sealed is data encrypted with the APIv3 key, as in certificates and
// notifications.
type sealed struct {
	Algorithm      string `json:"algorithm"`
	Nonce          string `json:"nonce"`
	AssociatedData string `json:"associated_data"`
	Ciphertext     string `json:"ciphertext"`
}

func (id identity) seal(plaintext []byte, associatedData string) (sealed, error) {
	block, err := aes.NewCipher([]byte(id.APIv3Key))
	if err != nil {
		return sealed{}, fmt.Errorf("use the APIv3 key: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return sealed{}, fmt.Errorf("use the APIv3 key: %w", err)
	}
	nonce := randomHex(gcm.NonceSize() / 2)
	return sealed{
		Algorithm: "AEAD_AES_256_GCM", Nonce: nonce, AssociatedData: associatedData,
		Ciphertext: base64.StdEncoding.EncodeToString(gcm.Seal(nil, []byte(nonce), plaintext, []byte(associatedData))),
	}, nil
}
