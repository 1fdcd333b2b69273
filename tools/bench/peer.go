package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/option"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"

	"payscore-collector/tasks"
)

// The peer is what somebody writes in an afternoon: an asynq handler that calls
// collect, and a second later another that queries. It keeps no promise: no
// ledger, no pace, no lease, no log, and whatever goes wrong is forgotten. It is
// given what makes it fast all the same: a kept connection for every call.

const (
	rolePeer    = "as-peer"
	peerQueue   = "peer"
	peerCollect = "peer:collect"
	peerQuery   = "peer:query"
)

// confirmAfter is from a collect to the query that confirms it, for the peer and
// for the worker.
const confirmAfter = time.Second

// peerConcurrency is WORKER_CONCURRENCY's default.
const peerConcurrency = 64

func runPeer() error {
	opt, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	opt.PoolSize = peerConcurrency + 16
	rdb := redis.NewClient(opt)
	defer rdb.Close()
	client, err := sdkClient()
	if err != nil {
		return err
	}
	queue := asynq.NewClientFromRedisClient(rdb)
	base := os.Getenv("WECHATPAY_BASE_URL") + "/v3/payscore/serviceorder"
	mux := asynq.NewServeMux()
	mux.HandleFunc(peerCollect, func(ctx context.Context, t *asynq.Task) error {
		var p tasks.Payload
		if err := json.Unmarshal(t.Payload(), &p); err != nil {
			return err
		}
		res, err := client.Post(ctx, base+"/"+url.PathEscape(p.OutOrderNo)+"/pay", map[string]string{"appid": p.AppID, "service_id": p.ServiceID})
		if err != nil {
			return err
		}
		if err := drain(res); err != nil {
			return err
		}
		_, err = queue.EnqueueContext(ctx, asynq.NewTask(peerQuery, t.Payload()), asynq.Queue(peerQueue), asynq.ProcessIn(confirmAfter))
		return err
	})
	mux.HandleFunc(peerQuery, func(ctx context.Context, t *asynq.Task) error {
		var p tasks.Payload
		if err := json.Unmarshal(t.Payload(), &p); err != nil {
			return err
		}
		q := url.Values{"out_order_no": {p.OutOrderNo}, "service_id": {p.ServiceID}, "appid": {p.AppID}}
		res, err := client.Get(ctx, base+"?"+q.Encode())
		if err != nil {
			return err
		}
		var order struct {
			State      string `json:"state"`
			Collection struct {
				State string `json:"state"`
			} `json:"collection"`
		}
		if err := core.UnMarshalResponse(res.Response, &order); err != nil {
			return err
		}
		if order.Collection.State != "USER_PAID" {
			return fmt.Errorf("not paid yet: %s", order.State)
		}
		return nil
	})
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: peerConcurrency, Queues: map[string]int{peerQueue: 1},
		TaskCheckInterval: 100 * time.Millisecond, DelayedTaskCheckInterval: time.Second,
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	<-ctx.Done()
	server.Shutdown()
	return nil
}

// drain reads a reply to its end, so that its connection can be used again.
func drain(res *core.APIResult) error {
	_, err := io.Copy(io.Discard, res.Response.Body)
	return errors.Join(err, res.Response.Body.Close())
}

func sdkClient() (*core.Client, error) {
	private, err := utils.LoadPrivateKeyWithPath(os.Getenv("WECHATPAY_PRIVATE_KEY_FILE"))
	if err != nil {
		return nil, err
	}
	public, err := utils.LoadPublicKeyWithPath(os.Getenv("WECHATPAY_PUBLIC_KEY_FILE"))
	if err != nil {
		return nil, err
	}
	return core.NewClient(context.Background(),
		option.WithWechatPayPublicKeyAuthCipher(os.Getenv("WECHATPAY_MCHID"), os.Getenv("WECHATPAY_SERIAL_NO"), private, os.Getenv("WECHATPAY_PUBLIC_KEY_ID"), public),
		option.WithHTTPClient(&http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: peerConcurrency}}))
}

// startPeer starts the peer for a merchant.
func (l *lab) startPeer(m merchant) (*child, error) {
	return l.start(l.self, append([]string{"REDIS_URL=" + l.url}, m.env...), rolePeer)
}

// feedPeer puts orders into the peer's queue, as its users would: one by one.
// It returns how long that took.
func (l *lab) feedPeer(ctx context.Context, m merchant, nos []string) (time.Duration, error) {
	client := asynq.NewClientFromRedisClient(l.rdb)
	start := time.Now()
	for _, no := range nos {
		body, err := m.order(no).Encode()
		if err != nil {
			return 0, err
		}
		if _, err := client.EnqueueContext(ctx, asynq.NewTask(peerCollect, body), asynq.Queue(peerQueue)); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// startWorker starts the worker for a merchant, at defaults but for time that
// nobody wants to wait for, and a rate that holds nothing back.
func (l *lab) startWorker(m merchant, env ...string) (*child, error) {
	return l.start(l.dir+"/worker", append(append([]string{
		"REDIS_URL=" + l.url, "ADMIN_ADDR=", "COLLECT_WINDOW=always", "COLLECT_RATE=5000",
		"CONFIRM_SCHEDULE=" + confirmAfter.String(), "SWEEP_EVERY=5s",
	}, m.env...), env...))
}

// feed hands orders over, one by one, over several connections: all of them are
// in the queue then.
func (l *lab) feed(ctx context.Context, m merchant, nos []string) error {
	producer := tasks.NewProducer(l.rdb)
	const hands = 8
	errs := make(chan error, hands)
	for h := range hands {
		go func() {
			var failed error
			for i := h; i < len(nos) && failed == nil; i += hands {
				var res tasks.Result
				if res, failed = producer.Enqueue(ctx, m.order(nos[i])); failed == nil && res.Status != tasks.Accepted {
					failed = fmt.Errorf("%s: %s %v", nos[i], res.Status, res.Err)
				}
			}
			errs <- failed
		}()
	}
	var all []error
	for range hands {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// listOf writes several values as the table shows them.
func listOf(format string, values []float64) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprintf(format, v)
	}
	return strings.Join(words, " ")
}
