package simulator

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// The files of a merchant's directory. The first two are named as WeChat Pay
// names the real ones.
const (
	FilePrivateKey  = "apiclient_key.pem" // the merchant's, PKCS#8
	FilePublicKey   = "pub_key.pem"       // the platform's, PKIX
	FileCertificate = "wechatpay_cert.pem"
	FilePlatformKey = "platform_key.pem" // the simulator's own secret
	FileEnvironment = "merchant.env"
)

// setting is a line of merchant.env, which a worker reads.
type setting struct {
	name  string
	value *string
	kept  bool // part of the identity that is read back
}

// settings are the lines of merchant.env, in their order.
func (id *identity) settings(privateKeyFile, publicKeyFile, baseURL string) []setting {
	return []setting{
		{"WECHATPAY_MCHID", &id.MchID, true},
		{"WECHATPAY_SERIAL_NO", &id.SerialNo, true},
		{"WECHATPAY_PRIVATE_KEY_FILE", &privateKeyFile, false},
		{"WECHATPAY_PUBLIC_KEY_ID", &id.PublicKeyID, true},
		{"WECHATPAY_PUBLIC_KEY_FILE", &publicKeyFile, false},
		{"WECHATPAY_API_V3_KEY", &id.APIv3Key, true},
		{"WECHATPAY_BASE_URL", &baseURL, false},
		{"PAYSCORE_APPID", &id.AppID, true},
		{"PAYSCORE_SERVICE_ID", &id.ServiceID, true},
	}
}

// WriteMerchantDir writes the key files and merchant.env into dir, which it
// creates (mode 0700, files 0600). merchant.env holds plain NAME=value lines
// with absolute paths, so that `set -a; . dir/merchant.env` sets up a worker
// that calls baseURL. Files of the same identity are left alone, except
// merchant.env, which is replaced whole. Files of another identity are never
// overwritten, because they may be a real merchant's.
func (s *Simulator) WriteMerchantDir(dir, baseURL string) error {
	abs, err := shellSafeDir(dir)
	if err != nil {
		return err
	}
	if u, err := url.Parse(baseURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || !shellSafe(baseURL) {
		return fmt.Errorf("base URL %q must be http:// or https:// with a host, and hold nothing that a shell would take for its own", baseURL)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return fmt.Errorf("create the merchant's directory: %w", err)
	}
	if err := notForeign(abs); err != nil {
		return err
	}
	m := s.id.Merchant
	privateKey, err := m.PrivateKeyPEM()
	if err != nil {
		return err
	}
	publicKey, err := m.PublicKeyPEM()
	if err != nil {
		return err
	}
	platformKey, err := privateKeyPEM(s.id.platformKey)
	if err != nil {
		return err
	}
	for _, f := range [][2]string{
		{FilePlatformKey, platformKey}, {FilePrivateKey, privateKey},
		{FilePublicKey, publicKey}, {FileCertificate, m.CertificatePEM()},
	} {
		if err := writeOnce(filepath.Join(abs, f[0]), f[1]); err != nil {
			return err
		}
	}
	var env strings.Builder
	for _, v := range s.id.settings(filepath.Join(abs, FilePrivateKey), filepath.Join(abs, FilePublicKey), baseURL) {
		if !shellSafe(*v.value) {
			return fmt.Errorf("%s=%s cannot be written to %s: it holds something that a shell would take for its own", v.name, *v.value, FileEnvironment)
		}
		fmt.Fprintf(&env, "%s=%s\n", v.name, *v.value)
	}
	return replaceFile(filepath.Join(abs, FileEnvironment), env.String())
}

// shellSafeDir returns dir as an absolute path that needs no quotes.
func shellSafeDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the merchant's directory: %w", err)
	}
	if !shellSafe(abs) {
		return "", fmt.Errorf("directory %q cannot be used: a shell that reads %s would stumble over its name; choose a path of letters, digits and / . _ - only", abs, FileEnvironment)
	}
	return abs, nil
}

// shellSafe reports whether a POSIX shell reads NAME=v as v itself.
func shellSafe(v string) bool {
	for _, c := range v {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("/._-:@%+,=[]", c) || c == unicode.ReplacementChar {
			return false
		}
	}
	return v != ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// notForeign refuses a directory that has a merchant's files but no platform key:
// no simulator has written those.
func notForeign(dir string) error {
	if exists(filepath.Join(dir, FilePlatformKey)) {
		return nil
	}
	for _, name := range []string{FileEnvironment, FilePrivateKey, FilePublicKey} {
		if exists(filepath.Join(dir, name)) {
			return fmt.Errorf("directory %s holds %s but no %s, so it may be a real merchant's; choose another directory", dir, name, FilePlatformKey)
		}
	}
	return nil
}

// writeOnce writes a file, or verifies that it has this content already.
func writeOnce(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		old, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read back a key: %w", err)
		}
		if string(old) != content {
			return fmt.Errorf("%s belongs to another identity; choose another directory, or remove this one", path)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// replaceFile writes a file atomically, so that no reader sees half of it.
func replaceFile(path, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".env-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = tmp.WriteString(content)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

// readIdentity reads the identity that an earlier simulator left in opts.Dir.
// found is false where Dir holds no identity.
func readIdentity(opts Options) (id identity, found bool, err error) {
	if opts.Dir == "" {
		return identity{}, false, nil
	}
	if _, err := shellSafeDir(opts.Dir); err != nil {
		return identity{}, false, err
	}
	if err := notForeign(opts.Dir); err != nil {
		return identity{}, false, err
	}
	if !exists(filepath.Join(opts.Dir, FilePlatformKey)) {
		return identity{}, false, nil
	}
	id, err = loadIdentity(opts.Dir)
	if err != nil {
		return identity{}, false, fmt.Errorf("the identity in %s cannot be used again (remove the directory to start afresh): %w", opts.Dir, err)
	}
	for _, v := range []struct{ name, asked, kept string }{
		{"mchid", opts.MchID, id.MchID}, {"appid", opts.AppID, id.AppID}, {"service_id", opts.ServiceID, id.ServiceID},
	} {
		if v.asked != "" && v.asked != v.kept {
			return identity{}, false, fmt.Errorf("%s belongs to %s %s, not %s; choose another directory", opts.Dir, v.name, v.kept, v.asked)
		}
	}
	return id, true, nil
}

func loadIdentity(dir string) (identity, error) {
	env, err := readEnvironment(filepath.Join(dir, FileEnvironment))
	if err != nil {
		return identity{}, err
	}
	var id identity
	for _, v := range id.settings("", "", "") {
		if *v.value = env[v.name]; *v.value == "" && v.kept {
			return identity{}, fmt.Errorf("%s lacks %s", FileEnvironment, v.name)
		}
	}
	if len(id.APIv3Key) != 32 {
		return identity{}, fmt.Errorf("%s: WECHATPAY_API_V3_KEY must be 32 bytes long", FileEnvironment)
	}
	if id.PrivateKey, err = readPrivateKey(filepath.Join(dir, FilePrivateKey)); err != nil {
		return identity{}, err
	}
	if id.platformKey, err = readPrivateKey(filepath.Join(dir, FilePlatformKey)); err != nil {
		return identity{}, err
	}
	id.PublicKey, id.signer = &id.platformKey.PublicKey, id.platformKey
	der, err := readPEM(filepath.Join(dir, FileCertificate), "CERTIFICATE")
	if err != nil {
		return identity{}, err
	}
	if id.Certificate, err = x509.ParseCertificate(der); err != nil {
		return identity{}, fmt.Errorf("%s: %w", FileCertificate, err)
	}
	if !id.PublicKey.Equal(id.Certificate.PublicKey) {
		return identity{}, fmt.Errorf("%s is not for the key in %s", FileCertificate, FilePlatformKey)
	}
	id.CertificateSerialNo = certificateSerial(id.Certificate)
	return id, nil
}

func readEnvironment(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the merchant's settings: %w", err)
	}
	env := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if ok {
			env[name] = value
		}
	}
	return env, nil
}

func readPEM(path, kind string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s is not PEM of type %s", path, kind)
	}
	return block.Bytes, nil
}

func readPrivateKey(path string) (*rsa.PrivateKey, error) {
	der, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds no RSA key", path)
	}
	return key, nil
}
