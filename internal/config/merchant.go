package config

import (
	"crypto/rsa"
	"strings"
)

// Merchant is one merchant with all that a call for it takes.
type Merchant struct {
	MchID    string
	SerialNo string // of the merchant API certificate that PrivateKey belongs to

	PrivateKey *rsa.PrivateKey

	// PublicKeyID and PublicKey are WeChat Pay's, for verifying. Both are
	// set, or neither: then platform certificates are to be downloaded, and
	// APIV3Key is set.
	PublicKeyID string
	PublicKey   *rsa.PublicKey

	APIV3Key Secret // 32 bytes, or unset

	AppID, ServiceID string // defaults of orders that name none; may be empty

	BaseURL   string // scheme and host
	BackupURL string // scheme and host, or empty: none
}

// The fields of a merchant, by the names they have in MERCHANTS_FILE.
const (
	fieldMchID          = "mchid"
	fieldSerialNo       = "serial_no"
	fieldPrivateKey     = "private_key"
	fieldPrivateKeyFile = "private_key_file"
	fieldPublicKeyID    = "public_key_id"
	fieldPublicKey      = "public_key"
	fieldPublicKeyFile  = "public_key_file"
	fieldAPIV3Key       = "api_v3_key"
	fieldAPIV3KeyFile   = "api_v3_key_file"
	fieldAppID          = "appid"
	fieldServiceID      = "service_id"
	fieldBaseURL        = "base_url"
	fieldBackupURL      = "backup_url"
)

// merchantFields are the keys in the order of the documentation.
var merchantFields = []string{
	fieldMchID, fieldSerialNo, fieldPrivateKey, fieldPrivateKeyFile, fieldPublicKeyID, fieldPublicKey, fieldPublicKeyFile,
	fieldAPIV3Key, fieldAPIV3KeyFile, fieldAppID, fieldServiceID, fieldBaseURL, fieldBackupURL,
}

// settingOf maps a field to the environment variable of the single merchant.
var settingOf = map[string]string{
	fieldMchID:          "WECHATPAY_MCHID",
	fieldSerialNo:       "WECHATPAY_SERIAL_NO",
	fieldPrivateKey:     "WECHATPAY_PRIVATE_KEY",
	fieldPrivateKeyFile: "WECHATPAY_PRIVATE_KEY_FILE",
	fieldPublicKeyID:    "WECHATPAY_PUBLIC_KEY_ID",
	fieldPublicKey:      "WECHATPAY_PUBLIC_KEY",
	fieldPublicKeyFile:  "WECHATPAY_PUBLIC_KEY_FILE",
	fieldAPIV3Key:       "WECHATPAY_API_V3_KEY",
	fieldAPIV3KeyFile:   "WECHATPAY_API_V3_KEY_FILE",
	fieldAppID:          "PAYSCORE_APPID",
	fieldServiceID:      "PAYSCORE_SERVICE_ID",
	fieldBaseURL:        "WECHATPAY_BASE_URL",
	fieldBackupURL:      "WECHATPAY_BACKUP_URL",
}

// reporter words problems by field, whether the merchant comes from the
// environment or from a place in a file. A field that is no merchant's is an
// environment variable.
type reporter struct {
	c     *Collector
	where string // "FILE, line 3:" in a merchants file; empty for the environment

	refused map[string]bool // fields of a merchants file whose value was taken away; see inspect
}

// name is how a field is called in a sentence.
func (r reporter) name(field string) string {
	if setting, ok := settingOf[field]; ok && r.where == "" {
		return setting
	}
	return field
}

func (r reporter) place(field string) (setting, prefix string) {
	if r.where != "" {
		return "MERCHANTS_FILE", r.where + " " + field + " "
	}
	return r.name(field), ""
}

func (r reporter) problem(field, format string, args ...any) {
	if r.refused[field] {
		return
	}
	setting, prefix := r.place(field)
	r.c.Problem(setting, strings.ReplaceAll(prefix, "%", "%%")+format, args...)
}

func (r reporter) warn(field, format string, args ...any) {
	setting, prefix := r.place(field)
	r.c.Warn(setting, strings.ReplaceAll(prefix, "%", "%%")+format, args...)
}

// Resolve judges the group and reads the key files: of the single merchant,
// whose number, appid and service_id are in order, or of all those in
// MERCHANTS_FILE. With the file, appid, service_id, base and backup URL of the
// environment are the defaults of the merchants that have none of their own.
func (f MerchantFlags) Resolve(c *Collector, order OrderFlags) []Merchant {
	env := map[string]string{
		fieldMchID:          order.MchID,
		fieldSerialNo:       f.SerialNo,
		fieldPrivateKey:     f.PrivateKey,
		fieldPrivateKeyFile: f.PrivateKeyFile,
		fieldPublicKeyID:    f.PublicKeyID,
		fieldPublicKey:      f.PublicKey,
		fieldPublicKeyFile:  f.PublicKeyFile,
		fieldAPIV3Key:       f.APIV3Key,
		fieldAPIV3KeyFile:   f.APIV3KeyFile,
		fieldAppID:          order.AppID,
		fieldServiceID:      order.ServiceID,
		fieldBaseURL:        f.BaseURL,
		fieldBackupURL:      f.BackupURL,
	}
	if f.MerchantsFile == "" {
		return []Merchant{resolveMerchant(env, reporter{c: c})}
	}

	var both []string
	for _, field := range []string{
		fieldMchID, fieldSerialNo, fieldPrivateKey, fieldPrivateKeyFile, fieldPublicKeyID,
		fieldPublicKey, fieldPublicKeyFile, fieldAPIV3Key, fieldAPIV3KeyFile,
	} {
		if env[field] != "" {
			both = append(both, settingOf[field])
		}
	}
	if len(both) > 0 {
		c.Problem("MERCHANTS_FILE", "is set, and so is %s of a single merchant: keep the one or the other", strings.Join(both, ", "))
	}
	return loadMerchantsFile(f.MerchantsFile, defaultsOf(env, reporter{c: c}), c)
}

// defaultsOf are the fields that the environment gives to merchants of a file.
// Wrong ones are reported here, under their own names, and left out, lest each
// merchant's line be blamed for them.
func defaultsOf(env map[string]string, r reporter) map[string]string {
	defaults := map[string]string{}
	for _, field := range []string{fieldAppID, fieldServiceID} {
		if appIDForm.MatchString(env[field]) { // if not, the order group has said so
			defaults[field] = env[field]
		}
	}
	for _, field := range []string{fieldBaseURL, fieldBackupURL} {
		if env[field] != "" {
			defaults[field] = baseURL(env[field], r, field)
		}
	}
	return defaults
}

// resolveMerchant judges one merchant's fields. What is wrong is reported, and
// missing in the result.
func resolveMerchant(v map[string]string, r reporter) Merchant {
	m := Merchant{
		MchID:       v[fieldMchID],
		SerialNo:    v[fieldSerialNo],
		PublicKeyID: v[fieldPublicKeyID],
		AppID:       v[fieldAppID],
		ServiceID:   v[fieldServiceID],
	}
	fromFile := r.where != ""

	// In the environment these three belong to the order group, which has
	// judged their form already.
	if m.MchID == "" {
		r.problem(fieldMchID, "is missing: it is the merchant number (商户号), 8 to 10 digits as a rule")
	} else if fromFile && !mchIDForm.MatchString(m.MchID) {
		r.problem(fieldMchID, "is %q: a merchant number has 1 to 32 digits and nothing else", m.MchID)
	}
	if fromFile {
		for _, field := range []string{fieldAppID, fieldServiceID} {
			if v[field] != "" && !appIDForm.MatchString(v[field]) {
				r.problem(field, "is %q: 1 to 32 characters of 0-9 A-Z a-z _ - are allowed", v[field])
			}
		}
	}

	if m.SerialNo == "" {
		r.problem(fieldSerialNo, `is missing: it is the serial number of the merchant API certificate, shown by "openssl x509 -in apiclient_cert.pem -noout -serial"`)
	} else {
		problem, warning := serialNumber(m.SerialNo)
		if problem != "" {
			r.problem(fieldSerialNo, "%s", problem)
		}
		if warning != "" {
			r.warn(fieldSerialNo, "%s", warning)
		}
	}

	m.PrivateKey = resolvePrivateKey(v, r)
	m.APIV3Key = resolveAPIV3Key(v, r)
	m.PublicKey = resolvePublicKey(v, m, r)
	m.BaseURL, m.BackupURL = resolveURLs(v, r)
	return m
}

func resolvePrivateKey(v map[string]string, r reporter) *rsa.PrivateKey {
	g, blame, ok := r.either(fieldPrivateKey, v[fieldPrivateKey], v[fieldPrivateKeyFile])
	switch {
	case !ok:
		return nil
	case g == given{}:
		r.problem(fieldPrivateKeyFile, "is missing: it is the path of the merchant's private key, apiclient_key.pem in the archive that WeChat Pay's certificate tool makes; or set %s to the text of it", r.name(fieldPrivateKey))
		return nil
	}
	key, err := parsePrivateKey(g)
	if err != nil {
		r.problem(blame, "%v", err)
		return nil
	}
	if warning := readableByAll(g.path); warning != "" {
		r.warn(blame, "%s", warning)
	}
	return key
}

func resolvePublicKey(v map[string]string, m Merchant, r reporter) *rsa.PublicKey {
	g, blame, ok := r.either(fieldPublicKey, v[fieldPublicKey], v[fieldPublicKeyFile])
	id, isSet := v[fieldPublicKeyID], !ok || g != given{}
	switch {
	case id == "" && !isSet:
		if v[fieldAPIV3Key] == "" && v[fieldAPIV3KeyFile] == "" {
			r.problem(fieldPublicKeyID, "is missing, and %s: they are WeChat Pay's public key, for verifying its replies; or set %s or %s, and platform certificates are downloaded instead",
				r.name(fieldPublicKeyFile), r.name(fieldAPIV3Key), r.name(fieldAPIV3KeyFile))
		}
		return nil
	case id == "":
		r.problem(fieldPublicKeyID, "is missing: %s needs the ID that WeChat Pay's merchant platform shows beside the key, PUB_KEY_ID_...", r.name(blame))
	case !isSet:
		r.problem(fieldPublicKeyFile, "is missing: %s names WeChat Pay's public key, and this is the path of it (pub_key.pem); or set %s to the text of it", r.name(fieldPublicKeyID), r.name(fieldPublicKey))
	}
	if id != "" && !publicKeyIDForm.MatchString(id) {
		r.problem(fieldPublicKeyID, "is %q: the ID of WeChat Pay's public key begins with PUB_KEY_ID_", id)
	}
	if !ok || !isSet {
		return nil
	}
	key, err := parsePublicKey(g)
	if err == nil && m.PrivateKey != nil && m.PrivateKey.PublicKey.Equal(key) {
		err = g.names("is the public half of the merchant's own key: WeChat Pay's public key is wanted, pub_key.pem from its merchant platform")
	}
	if err != nil {
		r.problem(blame, "%v", err)
		return nil
	}
	return key
}

// apiV3KeySize is in bytes; it is an AES-256 key.
const apiV3KeySize = 32

func resolveAPIV3Key(v map[string]string, r reporter) Secret {
	g, blame, ok := r.either(fieldAPIV3Key, v[fieldAPIV3Key], v[fieldAPIV3KeyFile])
	key := strings.TrimSpace(g.text)
	switch {
	case !ok || key == "":
		return Secret{}
	case len(key) != apiV3KeySize:
		r.problem(blame, "holds %d bytes: an APIv3 key has exactly %d, as set on WeChat Pay's merchant platform", len(key), apiV3KeySize)
		return Secret{}
	}
	return NewSecret(key)
}

func resolveURLs(v map[string]string, r reporter) (base, backup string) {
	base, backup = v[fieldBaseURL], v[fieldBackupURL]
	if base == "" {
		base = DefaultBaseURL
		if backup == "" {
			backup = DefaultBackupURL
		}
	}
	base = baseURL(base, r, fieldBaseURL)
	if backup != "" {
		backup = baseURL(backup, r, fieldBackupURL)
	}
	return base, backup
}
