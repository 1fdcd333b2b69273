package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/wechatpay-apiv3/wechatpay-go/core"
	"github.com/wechatpay-apiv3/wechatpay-go/core/option"
	"github.com/wechatpay-apiv3/wechatpay-go/utils"
	"golang.org/x/sync/errgroup"

	"payscore-collector/tasks"
)

// The peer is the program that one would write in an afternoon: an asynq handler
// that calls collect, and a second later another one that queries. It keeps no
// promise: it has no ledger, no pace, no lease and no log, and forgets every
// failure. It does get what makes it fast: a kept connection for every call.

const (
	rolePeer    = "as-peer"
	peerQueue   = "peer"
	peerCollect = "peer:collect"
	peerQuery   = "peer:query"
)

// confirmAfter is the time from a collect to the query that confirms it, for the
// peer and for the worker.
const confirmAfter = time.Second

// peerConcurrency is WORKER_CONCURRENCY's default.
const peerConcurrency = 64

func runPeer(ctx context.Context) error {
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
	handle := func(task string, do func(ctx context.Context, p tasks.Payload, body []byte) error) {
		mux.HandleFunc(task, func(ctx context.Context, t *asynq.Task) error {
			var p tasks.Payload
			if err := json.Unmarshal(t.Payload(), &p); err != nil {
				return err
			}
			return do(ctx, p, t.Payload())
		})
	}
	handle(peerCollect, func(ctx context.Context, p tasks.Payload, body []byte) error {
		res, err := client.Post(ctx, base+"/"+url.PathEscape(p.OutOrderNo)+"/pay", map[string]string{"appid": p.AppID, "service_id": p.ServiceID})
		if err != nil {
			return err
		}
		// Read to its end, so that the connection can be used again.
		if _, err := io.Copy(io.Discard, res.Response.Body); err != nil {
			return err
		}
		_ = res.Response.Body.Close()
		_, err = queue.EnqueueContext(ctx, asynq.NewTask(peerQuery, body), asynq.Queue(peerQueue), asynq.ProcessIn(confirmAfter))
		return err
	})
	handle(peerQuery, func(ctx context.Context, p tasks.Payload, _ []byte) error {
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
	<-ctx.Done()
	server.Shutdown()
	return nil
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

// startPeer starts the peer.
func (e *env) startPeer(p platform, environment ...string) (*process, error) {
	return e.start(e.bench, slices.Concat([]string{"REDIS_URL=" + e.url}, p.settings, environment), rolePeer)
}

// enqueuePeer puts orders into the peer's queue one by one, as its users would.
func (e *env) enqueuePeer(ctx context.Context, nos []string) error {
	client := asynq.NewClientFromRedisClient(e.rdb)
	for _, no := range nos {
		body, err := order(no).Encode()
		if err != nil {
			return err
		}
		if _, err := client.EnqueueContext(ctx, asynq.NewTask(peerCollect, body), asynq.Queue(peerQueue)); err != nil {
			return err
		}
	}
	return nil
}

// startWorker starts the worker, with default settings but for
// shorter waits, and a rate that limits nothing.
func (e *env) startWorker(p platform, environment ...string) (*process, error) {
	return e.start(e.dir+"/worker", slices.Concat([]string{
		"REDIS_URL=" + e.url, "ADMIN_ADDR=", "COLLECT_WINDOW=always", "COLLECT_RATE=5000",
		"CONFIRM_SCHEDULE=" + confirmAfter.String(), "SWEEP_EVERY=5s",
	}, p.settings, environment))
}

// enqueue puts orders one by one into ledger and queue, over several connections,
// so that all of them are in the queue when the worker starts.
func (e *env) enqueue(ctx context.Context, nos []string) error {
	producer := tasks.NewProducer(e.rdb)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, no := range nos {
		g.Go(func() error {
			res, err := producer.Enqueue(ctx, order(no))
			if err == nil && res.Status != tasks.Accepted {
				err = fmt.Errorf("%s: %s %v", no, res.Status, res.Err)
			}
			return err
		})
	}
	return g.Wait()
}
