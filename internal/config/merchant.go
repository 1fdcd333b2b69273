package config

import (
	"cmp"
	"crypto/rsa"
	"reflect"
	"strings"
)

// Merchant is one merchant with all that a call for it takes.
type Merchant struct {
	MchID    string
	SerialNo string // of the merchant API certificate that PrivateKey belongs to

	PrivateKey *rsa.PrivateKey

	// PublicKeyID and PublicKey are WeChat Pay's, for verifying. Both are set, or
	// neither: then platform certificates must be downloaded, and APIV3Key is set.
	PublicKeyID string
	PublicKey   *rsa.PublicKey

	APIV3Key Secret // 32 bytes, or unset

	AppID, ServiceID string // defaults of orders that name none; may be empty

	BaseURL   string // scheme and host
	BackupURL string // scheme and host, or empty: none

	privateKeyFrom, publicKeyFrom string
}

// PrivateKeySetting is the setting that the private key came from: the file or the text;
// PublicKeySetting likewise. They have the names of a single merchant's.
func (m Merchant) PrivateKeySetting() string {
	return cmp.Or(m.privateKeyFrom, "WECHATPAY_PRIVATE_KEY_FILE")
}

// PublicKeySetting is described at PrivateKeySetting.
func (m Merchant) PublicKeySetting() string {
	return cmp.Or(m.publicKeyFrom, "WECHATPAY_PUBLIC_KEY_FILE")
}

// Equal reports whether two merchants are the same in everything.
func (m Merchant) Equal(o Merchant) bool {
	equal := m.MchID == o.MchID && m.SerialNo == o.SerialNo && m.PublicKeyID == o.PublicKeyID &&
		m.APIV3Key.Reveal() == o.APIV3Key.Reveal() && m.AppID == o.AppID && m.ServiceID == o.ServiceID &&
		m.BaseURL == o.BaseURL && m.BackupURL == o.BackupURL && (m.PublicKey == nil) == (o.PublicKey == nil)
	return equal && m.PrivateKey.Equal(o.PrivateKey) && (m.PublicKey == nil || m.PublicKey.Equal(o.PublicKey))
}

// merchantFields are the settings of one merchant, from the environment or from an
// item of a merchants file.
type merchantFields struct {
	Order         `yaml:",inline"`
	MerchantFlags `yaml:",inline"`
}

// settingOf is the variable of the single merchant for each key in MERCHANTS_FILE, and
// merchantKeys are those keys.
var settingOf, merchantKeys = func() (of map[string]string, keys []string) {
	of = map[string]string{}
	for _, s := range settingsIn(reflect.ValueOf(&merchantFields{}).Elem()) {
		if key := s.tag.Get("yaml"); key != "-" {
			of[key], keys = s.Name, append(keys, key)
		}
	}
	return of, keys
}()

// Resolve returns the single merchant, whose number, appid and service_id are in
// order, or all those in MERCHANTS_FILE. With the file, appid, service_id, base and
// backup URL of the environment are the defaults of merchants that have none of their
// own.
func (f MerchantFlags) Resolve(c *Collector, order Order) []Merchant {
	r := reporter{c: c}
	env := merchantFields{order, f}
	if f.MerchantsFile == "" {
		return []Merchant{r.merchant(env)}
	}
	var both []string
	for _, name := range []string{
		"WECHATPAY_MCHID", "WECHATPAY_SERIAL_NO", "WECHATPAY_PRIVATE_KEY", "WECHATPAY_PRIVATE_KEY_FILE", "WECHATPAY_PUBLIC_KEY_ID",
		"WECHATPAY_PUBLIC_KEY", "WECHATPAY_PUBLIC_KEY_FILE", "WECHATPAY_API_V3_KEY", "WECHATPAY_API_V3_KEY_FILE",
	} {
		if c.isGiven(name) {
			both = append(both, name)
		}
	}
	if len(both) > 0 {
		c.Problem("MERCHANTS_FILE", "is set, and so is %s of a single merchant: keep the one or the other", strings.Join(both, ", "))
	}
	// A wrong URL is reported here, under its own name, and not for each merchant.
	if env.BaseURL != "" {
		env.BaseURL = r.baseURL(env.BaseURL, "base_url")
	}
	if env.BackupURL != "" {
		env.BackupURL = r.baseURL(env.BackupURL, "backup_url")
	}
	return loadMerchantsFile(f.MerchantsFile, env, c)
}

// merchant checks one merchant's fields. What is wrong is reported, and missing in
// the result.
func (r reporter) merchant(f merchantFields) Merchant {
	m := Merchant{MchID: f.MchID, SerialNo: f.SerialNo, PublicKeyID: f.PublicKeyID, AppID: f.AppID, ServiceID: f.ServiceID}
	if m.MchID == "" {
		r.problem("mchid", "is missing: it is the merchant number (商户号), usually 8 to 10 digits")
	}
	if m.SerialNo == "" {
		r.problem("serial_no", `is missing: it is the serial number of the merchant API certificate, shown by "openssl x509 -in apiclient_cert.pem -noout -serial"`)
	} else {
		problem, warning := serialNumber(m.SerialNo)
		if problem != "" {
			r.problem("serial_no", "%s", problem)
		}
		if warning != "" {
			r.warn("serial_no", "%s", warning)
		}
	}
	for from, text := range map[*string]Text{&m.privateKeyFrom: f.PrivateKey, &m.publicKeyFrom: f.PublicKey} {
		if text.IsSet() {
			*from = settingOf[text.blame]
		}
	}
	m.PrivateKey = r.privateKey(f)
	m.APIV3Key = r.apiV3Key(f)
	m.PublicKey = r.publicKey(f, m.PrivateKey)
	m.BaseURL, m.BackupURL = r.urls(f)
	return m
}

func (r reporter) privateKey(f merchantFields) *rsa.PrivateKey {
	t := f.PrivateKey
	switch {
	case t.bad:
		return nil
	case !t.IsSet():
		r.problem("private_key_file", "is missing: it is the path of the merchant's private key, apiclient_key.pem in the archive that WeChat Pay's certificate tool makes; or set %s to the text of it", r.name("private_key"))
		return nil
	}
	key, err := parsePrivateKey(t)
	if err != nil {
		r.problem(t.blame, "%v", err)
		return nil
	}
	if warning := readableByAll(t.path); warning != "" {
		r.warn(t.blame, "%s", warning)
	}
	return key
}

func (r reporter) publicKey(f merchantFields, own *rsa.PrivateKey) *rsa.PublicKey {
	id, t := f.PublicKeyID, f.PublicKey
	isSet, idSet := t.bad || t.IsSet(), id != "" || r.hasRefused("public_key_id")
	switch {
	case !idSet && !isSet:
		if !f.APIV3Key.bad && !f.APIV3Key.IsSet() {
			r.problem("public_key_id", "is missing, and %s: they are WeChat Pay's public key, for verifying its replies; or set %s or %s, and platform certificates are downloaded instead",
				r.name("public_key_file"), r.name("api_v3_key"), r.name("api_v3_key_file"))
		}
	case !idSet:
		r.problem("public_key_id", "is missing: %s needs the ID that WeChat Pay's merchant platform shows beside the key, PUB_KEY_ID_...", t.blame)
	case !isSet:
		r.problem("public_key_file", "is missing: %s names WeChat Pay's public key, and this is the path of it (pub_key.pem); or set %s to the text of it", r.name("public_key_id"), r.name("public_key"))
	}
	if !t.IsSet() {
		return nil
	}
	key, err := parsePublicKey(t)
	if err == nil && own != nil && own.PublicKey.Equal(key) {
		err = t.names("is the public half of the merchant's own key: WeChat Pay's public key is wanted, pub_key.pem from its merchant platform")
	}
	if err != nil {
		r.problem(t.blame, "%v", err)
		return nil
	}
	return key
}

// apiV3KeySize is in bytes; it is an AES-256 key.
const apiV3KeySize = 32

func (r reporter) apiV3Key(f merchantFields) Secret {
	key := strings.TrimSpace(f.APIV3Key.Reveal())
	if key != "" && len(key) != apiV3KeySize {
		r.problem(f.APIV3Key.blame, "holds %d bytes: an APIv3 key has exactly %d, as set on WeChat Pay's merchant platform", len(key), apiV3KeySize)
		key = ""
	}
	return NewSecret(key)
}

func (r reporter) urls(f merchantFields) (base, backup string) {
	base, backup = f.BaseURL, f.BackupURL
	if base == "" {
		base = DefaultBaseURL
		if backup == "" {
			backup = DefaultBackupURL
		}
	}
	base = r.baseURL(base, "base_url")
	if backup != "" {
		backup = r.baseURL(backup, "backup_url")
	}
	return base, backup
}
