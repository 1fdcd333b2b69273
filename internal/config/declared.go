package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// The groups of settings. A command embeds those it needs in its kong struct.
// A field has kong's tags, and these:
//
//	holds  what a value may be: a "secret", a "key" in PEM, or both. A value
//	       without the tag is plain text and may appear in an error.
//	is     the form of a text, see forms
//	from   the least number or duration that is allowed
//	to     the greatest
//	empty  what an empty value means; without it, empty counts as not set
//	yaml   the field's name in MERCHANTS_FILE
//
// A secret NAME is of type Text, and NAME_FILE must be declared with it.

// RedisFlags say where Redis is.
type RedisFlags struct {
	RedisURL     Text   `name:"redis-url" env:"REDIS_URL" group:"Redis" placeholder:"URL" help:"redis://, rediss:// or unix:// URL; redis-sentinel://[user:password@]h1:p,h2:p/DB?master=NAME; redis-cluster://[user:password@]h1:p,h2:p; the last two also with a second s for TLS. A password in a flag is visible to every user of this machine: use the environment or a file" holds:"secret"`
	RedisURLFile string `name:"redis-url-file" env:"REDIS_URL_FILE" group:"Redis" placeholder:"FILE" help:"File with the Redis URL, instead of the variable; a line end at its end is ignored"`
	TLSCAFile    string `name:"redis-tls-ca-file" env:"REDIS_TLS_CA_FILE" group:"Redis" placeholder:"FILE" help:"PEM file of the authorities that may have signed Redis's certificate (default: the system's)"`
	TLSCertFile  string `name:"redis-tls-cert-file" env:"REDIS_TLS_CERT_FILE" group:"Redis" placeholder:"FILE" help:"PEM file of the client certificate for Redis; goes with the key"`
	TLSKeyFile   string `name:"redis-tls-key-file" env:"REDIS_TLS_KEY_FILE" group:"Redis" placeholder:"FILE" help:"PEM file of its private key"`
}

// Order completes an order that does not name its merchant, app or service itself.
// Each may be empty.
type Order struct {
	MchID     string `name:"wechatpay-mchid" env:"WECHATPAY_MCHID" yaml:"mchid" is:"mchid" group:"Merchant" placeholder:"NUMBER" help:"Merchant number"`
	AppID     string `name:"payscore-appid" env:"PAYSCORE_APPID" yaml:"appid" is:"appid" group:"Merchant" placeholder:"ID" help:"appid of orders that name none"`
	ServiceID string `name:"payscore-service-id" env:"PAYSCORE_SERVICE_ID" yaml:"service_id" is:"service_id" group:"Merchant" placeholder:"ID" help:"service_id of orders that name none"`
}

// MerchantFlags are the keys of one merchant, or a file that lists several.
type MerchantFlags struct {
	SerialNo       string `name:"wechatpay-serial-no" env:"WECHATPAY_SERIAL_NO" yaml:"serial_no" group:"Merchant" placeholder:"HEX" help:"Serial number of the merchant API certificate"`
	PrivateKey     Text   `name:"wechatpay-private-key" env:"WECHATPAY_PRIVATE_KEY" yaml:"private_key" group:"Merchant" placeholder:"PEM" help:"The merchant's private key as text, instead of the file; \\n stands for a line end. In a flag it is visible to every user of this machine: use the environment or a file" holds:"secret,key"`
	PrivateKeyFile string `name:"wechatpay-private-key-file" env:"WECHATPAY_PRIVATE_KEY_FILE" yaml:"private_key_file" group:"Merchant" placeholder:"FILE" help:"The merchant's private key (apiclient_key.pem)"`
	PublicKeyID    string `name:"wechatpay-public-key-id" env:"WECHATPAY_PUBLIC_KEY_ID" yaml:"public_key_id" is:"public_key_id" group:"Merchant" placeholder:"ID" help:"PUB_KEY_ID_... of WeChat Pay's public key. Without it platform certificates are downloaded, which takes the APIv3 key"`
	PublicKey      Text   `name:"wechatpay-public-key" env:"WECHATPAY_PUBLIC_KEY" yaml:"public_key" group:"Merchant" placeholder:"PEM" help:"WeChat Pay's public key as text, instead of the file; \\n stands for a line end" holds:"key"`
	PublicKeyFile  string `name:"wechatpay-public-key-file" env:"WECHATPAY_PUBLIC_KEY_FILE" yaml:"public_key_file" group:"Merchant" placeholder:"FILE" help:"WeChat Pay's public key (pub_key.pem)"`
	APIV3Key       Text   `name:"wechatpay-api-v3-key" env:"WECHATPAY_API_V3_KEY" yaml:"api_v3_key" group:"Merchant" placeholder:"KEY" help:"APIv3 key, 32 bytes. In a flag it is visible to every user of this machine: use the environment or a file" holds:"secret"`
	APIV3KeyFile   string `name:"wechatpay-api-v3-key-file" env:"WECHATPAY_API_V3_KEY_FILE" yaml:"api_v3_key_file" group:"Merchant" placeholder:"FILE" help:"File with the APIv3 key; a line end at its end is ignored"`
	BaseURL        string `name:"wechatpay-base-url" env:"WECHATPAY_BASE_URL" yaml:"base_url" group:"Merchant" placeholder:"URL" help:"WeChat Pay's API host (default https://api.mch.weixin.qq.com)"`
	BackupURL      string `name:"wechatpay-backup-url" env:"WECHATPAY_BACKUP_URL" yaml:"backup_url" group:"Merchant" placeholder:"URL" help:"Its backup host (default https://api2.mch.weixin.qq.com, or none where the base URL is set)"`
	MerchantsFile  string `name:"merchants-file" env:"MERCHANTS_FILE" yaml:"-" group:"Merchant" placeholder:"FILE" help:"YAML list of merchants, instead of a single one by the settings above"`
}

// Work is how the worker works.
type Work struct {
	Concurrency int `name:"worker-concurrency" env:"WORKER_CONCURRENCY" group:"Worker" default:"64" from:"1" to:"10000" placeholder:"N" help:"Steps at once, for each merchant (default ${default})"`
	// CallTimeout bounds the lease of an order, with the wait for its slot and the
	// time to settle: see LONGEST_LEASE in the ledger's scripts.
	CallTimeout time.Duration `name:"call-timeout" env:"CALL_TIMEOUT" group:"Worker" default:"15s" from:"1ms" to:"2m" placeholder:"DURATION" help:"Time for one WeChat Pay call (default ${default})"`
	// Rate has a ceiling because Redis's clock has microseconds, which could not
	// tell more calls apart.
	Rate            float64        `name:"collect-rate" env:"COLLECT_RATE" group:"Worker" default:"50" from:"0.01" to:"100000" placeholder:"N" help:"WeChat Pay calls a second for a merchant, over all workers (default ${default})"`
	CollectSchedule Schedule       `name:"collect-schedule" env:"COLLECT_SCHEDULE" group:"Worker" default:"10m,1h,6h,24h" placeholder:"DURATIONS" help:"Waits between attempts, the last one repeating (default ${default})"`
	Window          Window         `name:"collect-window" env:"COLLECT_WINDOW" group:"Worker" default:"08:00-22:00" placeholder:"HH:MM-HH:MM" help:"When collect calls are made, or always (default ${default})"`
	Location        *time.Location `name:"collect-timezone" env:"COLLECT_TIMEZONE" group:"Worker" default:"Asia/Shanghai" placeholder:"ZONE" help:"Whose clock the window goes by (default ${default})"`
	ConfirmSchedule Schedule       `name:"confirm-schedule" env:"CONFIRM_SCHEDULE" group:"Worker" default:"10s,1m,10m" placeholder:"DURATIONS" help:"Waits before the queries after a collect call that was taken (default ${default})"`
	MinGap          time.Duration  `name:"min-gap" env:"MIN_GAP" group:"Worker" default:"5m" from:"0s" placeholder:"DURATION" help:"Least time between collect calls of one order (default ${default})"`
	GiveUpAfter     time.Duration  `name:"give-up-after" env:"GIVE_UP_AFTER" group:"Worker" default:"720h" from:"1ms" placeholder:"DURATION" help:"Age at which an order is exhausted (default ${default})"`
	// SweepEvery bounds how late a worker notices what the queue has lost.
	SweepEvery time.Duration `name:"sweep-every" env:"SWEEP_EVERY" group:"Worker" default:"15s" from:"1ms" to:"24h" placeholder:"DURATION" help:"How often what is due goes back to the queue (default ${default})"`
	Retention  time.Duration `name:"retention" env:"RETENTION" group:"Worker" default:"2160h" from:"1ms" placeholder:"DURATION" help:"How long ended orders and events stay in Redis; open orders, and events that a reader has not read, always do (default ${default}, 90 days)"`

	BooksAt BooksAt `name:"books-at" env:"BOOKS_AT" group:"Worker" default:"10:30" placeholder:"HH:MM" help:"When workers hold the day before against WeChat Pay's trade bill, in Asia/Shanghai, or off (default ${default})"`

	Signer string `name:"wechatpay-signer" env:"WECHATPAY_SIGNER" group:"Worker" default:"auto" is:"signer" placeholder:"NAME" help:"What makes the signatures of calls: openssl, which is faster and in the Docker image and other builds with the tag openssl; go; or auto: openssl where it works (default ${default})"`

	PublicAddr     string `name:"public-addr" env:"PUBLIC_ADDR" group:"Worker" is:"address" placeholder:"HOST:PORT" help:"Where WeChat Pay's notifications are listened for (default: off)"`
	AdminAddr      string `name:"admin-addr" env:"ADMIN_ADDR" group:"Worker" default:"127.0.0.1:9090" is:"address" empty:"off" placeholder:"HOST:PORT" help:"Where health, metrics and the HTTP API are served; empty: off (default ${default})"`
	AdminAddrSet   bool   `kong:"-"` // whether AdminAddr is not just the default
	AdminToken     Text   `name:"admin-token" env:"ADMIN_TOKEN" group:"Worker" placeholder:"TOKEN" help:"Token of the operator admin for the HTTP API. In a flag it is visible to every user of this machine: use the environment or a file" holds:"secret"`
	AdminTokenFile string `name:"admin-token-file" env:"ADMIN_TOKEN_FILE" group:"Worker" placeholder:"FILE" help:"File with that token; a line end at its end is ignored"`

	APITokensFile string `name:"api-tokens-file" env:"API_TOKENS_FILE" group:"Worker" placeholder:"FILE" help:"YAML list of the HTTP API's tokens: name, role, token_sha256 and mchids, as worker token prints them; read again when it changes"`

	Webhook Webhook `kong:"-"` // from WebhookFlags
}

// WebhookFlags say where the final states of orders are sent.
type WebhookFlags struct {
	WebhookURL        Secret `name:"billing-webhook-url" env:"BILLING_WEBHOOK_URL" group:"Worker" placeholder:"URL" help:"Where the final states of orders are sent, as Standard Webhooks (default: nowhere)" holds:"secret"`
	WebhookSecret     Text   `name:"billing-webhook-secret" env:"BILLING_WEBHOOK_SECRET" group:"Worker" placeholder:"SECRET" help:"whsec_ and a key in base64, which signs them. In a flag it is visible to every user of this machine: use the environment or a file" holds:"secret"`
	WebhookSecretFile string `name:"billing-webhook-secret-file" env:"BILLING_WEBHOOK_SECRET_FILE" group:"Worker" placeholder:"FILE" help:"File with that secret; a line end at its end is ignored"`
}

// SchedulesFlags name the file of the schedules that orders may have.
type SchedulesFlags struct {
	SchedulesFile string `name:"schedules-file" env:"SCHEDULES_FILE" group:"Worker" placeholder:"FILE" help:"YAML file of the schedules that orders may name, and of the defaults for orders that name none (default: every order is collected by the settings above)"`
}

// DatabaseFlags say where PostgreSQL is.
type DatabaseFlags struct {
	DatabaseURL     Text   `name:"database-url" env:"DATABASE_URL" group:"PostgreSQL" placeholder:"URL" help:"postgres://user:password@host:5432/database, with libpq's parameters and search_path. A password in a flag is visible to every user of this machine: use the environment or a file" holds:"secret"`
	DatabaseURLFile string `name:"database-url-file" env:"DATABASE_URL_FILE" group:"PostgreSQL" placeholder:"FILE" help:"File with that URL; a line end at its end is ignored"`
}

// Log is how the program logs: what logging.New takes.
type Log struct {
	Level  string `name:"log-level" env:"LOG_LEVEL" group:"Log" default:"info" is:"level" placeholder:"LEVEL" help:"trace, debug, info, warn or error (default ${default})"`
	Format string `name:"log-format" env:"LOG_FORMAT" group:"Log" default:"json" is:"format" placeholder:"FORMAT" help:"json or console (default ${default})"`
}

// groups are all groups. One that is missing here fails a test.
var groups = []reflect.Type{
	reflect.TypeFor[RedisFlags](),
	reflect.TypeFor[Order](),
	reflect.TypeFor[MerchantFlags](),
	reflect.TypeFor[Work](),
	reflect.TypeFor[WebhookFlags](),
	reflect.TypeFor[SchedulesFlags](),
	reflect.TypeFor[DatabaseFlags](),
	reflect.TypeFor[Log](),
}

// Declared is a setting as its group declares it.
type Declared struct {
	Name        string // the environment variable
	Flag        string // the same in kebab case, without the dashes
	Default     string // may be empty
	Secret, Key bool   // what a value, or a part of one, may be
	tag         reflect.StructTag
}

// AllDeclared lists every setting that some command reads, in the order of the
// groups.
func AllDeclared() []Declared { return slices.Clone(declared) }

var declared = func() (all []Declared) {
	for _, group := range groups {
		for i := range group.NumField() {
			if tag := group.Field(i).Tag; tag.Get("env") != "" {
				all = append(all, declaredBy(tag))
			}
		}
	}
	return all
}()

func declaredBy(tag reflect.StructTag) Declared {
	holds := strings.Split(tag.Get("holds"), ",")
	return Declared{
		Name: tag.Get("env"), Flag: tag.Get("name"), Default: tag.Get("default"), tag: tag,
		Secret: slices.Contains(holds, "secret"), Key: slices.Contains(holds, "key"),
	}
}

// rank is the place of a setting among all, or behind them.
func rank(name string) int {
	if i := slices.IndexFunc(declared, func(d Declared) bool { return d.Name == name }); i >= 0 {
		return i
	}
	return len(declared)
}

// isDeclared reports whether some command reads the variable.
func isDeclared(name string) bool { return rank(name) < len(declared) }

// setting is a field of a group, with the text that it was given.
type setting struct {
	Declared
	name  string // in sentences: the variable, or the key in MERCHANTS_FILE
	field reflect.Value
	text  string // the default where it was not given
	given bool
}

// settingsIn lists the settings of a struct and of the structs in it.
func settingsIn(v reflect.Value) []*setting {
	var all []*setting
	for i := range v.NumField() {
		field := v.Type().Field(i)
		switch d := declaredBy(field.Tag); {
		case d.Name != "":
			all = append(all, &setting{Declared: d, name: d.Name, field: v.Field(i), text: d.Default})
		case field.IsExported() && field.Type.Kind() == reflect.Struct:
			all = append(all, settingsIn(v.Field(i))...)
		}
	}
	return all
}
