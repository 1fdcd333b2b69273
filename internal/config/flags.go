package config

// The flag groups. A command embeds those it needs in its kong struct. They are
// all strings; see the package comment for why.
//
// The tag holds says what a value may be: a "secret", a "key" in PEM, which has
// several lines, or both. A value without the tag is plain text and may stand in
// an error, see Collector.Problem. A secret NAME has a NAME_FILE beside it.

// RedisFlags says where Redis is.
type RedisFlags struct {
	RedisURL     string `name:"redis-url" env:"REDIS_URL" group:"Redis" placeholder:"URL" help:"redis://, rediss:// or unix:// URL; redis-sentinel://[user:password@]h1:p,h2:p/DB?master=NAME; redis-cluster://[user:password@]h1:p,h2:p; the last two also with a second s for TLS. A password in a flag is visible to every user of this machine: use the environment or a file" holds:"secret"`
	RedisURLFile string `name:"redis-url-file" env:"REDIS_URL_FILE" group:"Redis" placeholder:"FILE" help:"File with the Redis URL, instead of the variable; a line end at its end is ignored"`
	TLSCAFile    string `name:"redis-tls-ca-file" env:"REDIS_TLS_CA_FILE" group:"Redis" placeholder:"FILE" help:"PEM file of the authorities that may have signed Redis's certificate (default: the system's)"`
	TLSCertFile  string `name:"redis-tls-cert-file" env:"REDIS_TLS_CERT_FILE" group:"Redis" placeholder:"FILE" help:"PEM file of the client certificate for Redis; goes with the key"`
	TLSKeyFile   string `name:"redis-tls-key-file" env:"REDIS_TLS_KEY_FILE" group:"Redis" placeholder:"FILE" help:"PEM file of its private key"`
}

// OrderFlags are what completes an order that names no merchant, app or service
// itself.
type OrderFlags struct {
	MchID     string `name:"wechatpay-mchid" env:"WECHATPAY_MCHID" group:"Merchant" placeholder:"NUMBER" help:"Merchant number"`
	AppID     string `name:"payscore-appid" env:"PAYSCORE_APPID" group:"Merchant" placeholder:"ID" help:"appid of orders that name none"`
	ServiceID string `name:"payscore-service-id" env:"PAYSCORE_SERVICE_ID" group:"Merchant" placeholder:"ID" help:"service_id of orders that name none"`
}

// MerchantFlags are the keys of one merchant, or a file that lists several.
type MerchantFlags struct {
	SerialNo       string `name:"wechatpay-serial-no" env:"WECHATPAY_SERIAL_NO" group:"Merchant" placeholder:"HEX" help:"Serial number of the merchant API certificate"`
	PrivateKey     string `name:"wechatpay-private-key" env:"WECHATPAY_PRIVATE_KEY" group:"Merchant" placeholder:"PEM" help:"The merchant's private key as text, instead of the file; \\n stands for a line end. In a flag it is visible to every user of this machine: use the environment or a file" holds:"secret,key"`
	PrivateKeyFile string `name:"wechatpay-private-key-file" env:"WECHATPAY_PRIVATE_KEY_FILE" group:"Merchant" placeholder:"FILE" help:"The merchant's private key (apiclient_key.pem)"`
	PublicKeyID    string `name:"wechatpay-public-key-id" env:"WECHATPAY_PUBLIC_KEY_ID" group:"Merchant" placeholder:"ID" help:"PUB_KEY_ID_... of WeChat Pay's public key. Without it platform certificates are downloaded, which takes the APIv3 key"`
	PublicKey      string `name:"wechatpay-public-key" env:"WECHATPAY_PUBLIC_KEY" group:"Merchant" placeholder:"PEM" help:"WeChat Pay's public key as text, instead of the file; \\n stands for a line end" holds:"key"`
	PublicKeyFile  string `name:"wechatpay-public-key-file" env:"WECHATPAY_PUBLIC_KEY_FILE" group:"Merchant" placeholder:"FILE" help:"WeChat Pay's public key (pub_key.pem)"`
	APIV3Key       string `name:"wechatpay-api-v3-key" env:"WECHATPAY_API_V3_KEY" group:"Merchant" placeholder:"KEY" help:"APIv3 key, 32 bytes. In a flag it is visible to every user of this machine: use the environment or a file" holds:"secret"`
	APIV3KeyFile   string `name:"wechatpay-api-v3-key-file" env:"WECHATPAY_API_V3_KEY_FILE" group:"Merchant" placeholder:"FILE" help:"File with the APIv3 key; a line end at its end is ignored"`
	BaseURL        string `name:"wechatpay-base-url" env:"WECHATPAY_BASE_URL" group:"Merchant" placeholder:"URL" help:"WeChat Pay's API host (default https://api.mch.weixin.qq.com)"`
	BackupURL      string `name:"wechatpay-backup-url" env:"WECHATPAY_BACKUP_URL" group:"Merchant" placeholder:"URL" help:"Its backup host (default https://api2.mch.weixin.qq.com, or none where the base URL is set)"`
	MerchantsFile  string `name:"merchants-file" env:"MERCHANTS_FILE" group:"Merchant" placeholder:"FILE" help:"YAML list of merchants, instead of a single one by the settings above"`
}

// WorkerFlags are how the worker works.
type WorkerFlags struct {
	Concurrency       string `name:"worker-concurrency" env:"WORKER_CONCURRENCY" group:"Worker" default:"64" placeholder:"N" help:"Steps at once, for each merchant (default ${default})"`
	CallTimeout       string `name:"call-timeout" env:"CALL_TIMEOUT" group:"Worker" default:"15s" placeholder:"DURATION" help:"Time for one WeChat Pay call (default ${default})"`
	CollectRate       string `name:"collect-rate" env:"COLLECT_RATE" group:"Worker" default:"50" placeholder:"N" help:"WeChat Pay calls a second for a merchant, over all workers (default ${default})"`
	CollectSchedule   string `name:"collect-schedule" env:"COLLECT_SCHEDULE" group:"Worker" default:"10m,1h,6h,24h" placeholder:"DURATIONS" help:"Waits between attempts, the last one repeating (default ${default})"`
	CollectWindow     string `name:"collect-window" env:"COLLECT_WINDOW" group:"Worker" default:"08:00-22:00" placeholder:"HH:MM-HH:MM" help:"When collect calls are made, or always (default ${default})"`
	CollectTimezone   string `name:"collect-timezone" env:"COLLECT_TIMEZONE" group:"Worker" default:"Asia/Shanghai" placeholder:"ZONE" help:"Whose clock the window goes by (default ${default})"`
	ConfirmSchedule   string `name:"confirm-schedule" env:"CONFIRM_SCHEDULE" group:"Worker" default:"10s,1m,10m" placeholder:"DURATIONS" help:"Waits before the queries after a collect call that was taken (default ${default})"`
	MinGap            string `name:"min-gap" env:"MIN_GAP" group:"Worker" default:"5m" placeholder:"DURATION" help:"Least time between collect calls of one order (default ${default})"`
	GiveUpAfter       string `name:"give-up-after" env:"GIVE_UP_AFTER" group:"Worker" default:"720h" placeholder:"DURATION" help:"Age at which an order is exhausted (default ${default})"`
	SweepEvery        string `name:"sweep-every" env:"SWEEP_EVERY" group:"Worker" default:"15s" placeholder:"DURATION" help:"How often what is due goes back to the queue (default ${default})"`
	Retention         string `name:"retention" env:"RETENTION" group:"Worker" default:"2160h" placeholder:"DURATION" help:"How long ended orders and events stay in Redis; open orders, and events that a reader has not read, always do (default ${default}, 90 days)"`
	WebhookURL        string `name:"billing-webhook-url" env:"BILLING_WEBHOOK_URL" group:"Worker" placeholder:"URL" help:"Where the ends of orders are sent, as Standard Webhooks (default: nowhere)" holds:"secret"`
	WebhookSecret     string `name:"billing-webhook-secret" env:"BILLING_WEBHOOK_SECRET" group:"Worker" placeholder:"SECRET" help:"whsec_ and a key in base64, which signs them. In a flag it is visible to every user of this machine: use the environment or a file" holds:"secret"`
	WebhookSecretFile string `name:"billing-webhook-secret-file" env:"BILLING_WEBHOOK_SECRET_FILE" group:"Worker" placeholder:"FILE" help:"File with that secret; a line end at its end is ignored"`
	PublicAddr        string `name:"public-addr" env:"PUBLIC_ADDR" group:"Worker" placeholder:"HOST:PORT" help:"Where WeChat Pay's notifications are listened for (default: off)"`
	// AdminAddr is a pointer because its default is not empty and empty means off.
	AdminAddr      *string `name:"admin-addr" env:"ADMIN_ADDR" group:"Worker" placeholder:"HOST:PORT" help:"Where health and metrics are served; empty: off (default 127.0.0.1:9090)"`
	AdminToken     string  `name:"admin-token" env:"ADMIN_TOKEN" group:"Worker" placeholder:"TOKEN" help:"For an API that this release does not have yet. In a flag it is visible to every user of this machine: use the environment or a file" holds:"secret"`
	AdminTokenFile string  `name:"admin-token-file" env:"ADMIN_TOKEN_FILE" group:"Worker" placeholder:"FILE" help:"File with that token; a line end at its end is ignored"`
}

// DatabaseFlags say where PostgreSQL is.
type DatabaseFlags struct {
	DatabaseURL     string `name:"database-url" env:"DATABASE_URL" group:"PostgreSQL" placeholder:"URL" help:"postgres://user:password@host:5432/database, with libpq's parameters and search_path. A password in a flag is visible to every user of this machine: use the environment or a file" holds:"secret"`
	DatabaseURLFile string `name:"database-url-file" env:"DATABASE_URL_FILE" group:"PostgreSQL" placeholder:"FILE" help:"File with that URL; a line end at its end is ignored"`
}

// LogFlags are how the program logs.
type LogFlags struct {
	Level  string `name:"log-level" env:"LOG_LEVEL" group:"Log" default:"info" placeholder:"LEVEL" help:"trace, debug, info, warn or error (default ${default})"`
	Format string `name:"log-format" env:"LOG_FORMAT" group:"Log" default:"json" placeholder:"FORMAT" help:"json or console (default ${default})"`
}
