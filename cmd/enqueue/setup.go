package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"payscore-collector/internal/config"
	"payscore-collector/internal/logging"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// Exit statuses beside config.ExitOK and config.ExitUsage.
const (
	exitFailed  = 1 // something failed; running it again is the remedy
	exitRefused = 3 // some orders were invalid, in conflict or ended
)

// commonFlags are those of the commands that hand orders over.
type commonFlags struct {
	MchID     string `name:"mchid" placeholder:"NUMBER" help:"Merchant number of orders that name none (default $WECHATPAY_MCHID)."`
	AppID     string `name:"appid" placeholder:"ID" help:"appid of orders that name none (default $PAYSCORE_APPID)."`
	ServiceID string `name:"service-id" placeholder:"ID" help:"service_id of orders that name none (default $PAYSCORE_SERVICE_ID)."`
	Reopen    bool   `help:"Open an order again that has ended, in any way but paid."`
	JSON      bool   `name:"json" help:"One JSON object a line on standard output."`
}

// defaults lets the flags win over the environment, and judges them.
func (f commonFlags) defaults(env config.Order) (config.Order, error) {
	for _, flag := range []struct {
		name, value string
		target      *string
		check       tasks.Payload // all in order but for the flag's field
	}{
		{"mchid", f.MchID, &env.MchID, tasks.Payload{MchID: f.MchID, AppID: "a", ServiceID: "s"}},
		{"appid", f.AppID, &env.AppID, tasks.Payload{MchID: "1", AppID: f.AppID, ServiceID: "s"}},
		{"service-id", f.ServiceID, &env.ServiceID, tasks.Payload{MchID: "1", AppID: "a", ServiceID: f.ServiceID}},
	} {
		if flag.value == "" {
			continue
		}
		flag.check.OutOrderNo = "1"
		var field *tasks.FieldError
		if errors.As(flag.check.Validate(), &field) {
			return env, fmt.Errorf("--%s %s", flag.name, field.Problem)
		}
		*flag.target = flag.value
	}
	return env, nil
}

// missing names what orders need and nobody gives them. Those that has says
// the orders bring along are not missing.
func missing(d config.Order, has func(name string) bool) []string {
	var names []string
	for _, f := range []struct{ name, value, flag, env string }{
		{"mchid", d.MchID, "--mchid", "WECHATPAY_MCHID"},
		{"appid", d.AppID, "--appid", "PAYSCORE_APPID"},
		{"service_id", d.ServiceID, "--service-id", "PAYSCORE_SERVICE_ID"},
	} {
		if f.value == "" && !has(f.name) {
			names = append(names, fmt.Sprintf("%s (%s or %s)", f.name, f.flag, f.env))
		}
	}
	return names
}

// load judges the settings. Where Redis is not needed, REDIS_URL may be
// missing.
func (p process) load(s config.ClientSettings, needRedis bool) (config.Client, error) {
	return s.Load(p.found, needRedis)
}

// connect returns a client of a Redis that has answered. Close it. undone is
// what was not done where it returns an error.
func connect(ctx context.Context, p process, cfg config.Client, undone string) (redis.UniversalClient, error) {
	if p.RedisLog != nil {
		log, err := logging.New(cfg.Log.Level, cfg.Log.Format, p.Stderr)
		if err != nil {
			return nil, err
		}
		p.RedisLog(log)
	}
	client := cfg.Redis.Open(redisconn.Pool{Name: "payscore-enqueue"})
	asking, cancel := context.WithTimeout(ctx, p.patience.start)
	defer cancel()
	if err := client.Ping(asking).Err(); err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		} else {
			err = cfg.Redis.Explain(ctx, err)
		}
		return nil, errors.Join(fmt.Errorf("cannot use Redis at %s: %w; nothing was %s", cfg.Redis, err, undone), client.Close())
	}
	return client, nil
}

// complain says what is wrong and passes the exit status on.
func (p process) complain(status int, err error) int {
	p.Complain(err)
	return status
}
