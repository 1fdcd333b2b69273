package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"payscore-collector/internal/config"
	"payscore-collector/internal/control"
	"payscore-collector/internal/explain"
	"payscore-collector/internal/ledger"
	"payscore-collector/internal/redisconn"
	"payscore-collector/tasks"
)

// who are the flags of the commands that stop and resume a merchant.
type who struct {
	MchID  string `name:"mchid" placeholder:"NUMBER" help:"Merchant number (default $WECHATPAY_MCHID)."`
	Reason string `required:"" placeholder:"TEXT" help:"Why, in your own words, for those who ask later; at most 200 characters."`
}

type pauseCommand struct {
	who
	For time.Duration `placeholder:"DURATION" help:"End by itself after this time, such as 2h; without it, worker resume ends it."`
}

// Help is what "worker pause --help" says in full.
func (pauseCommand) Help() string {
	return `No worker makes a collect call for the merchant until worker resume, or until --for has passed; a call that is under way, or was granted in the last five seconds, is not stopped. Queries, notifications, withdrawals and syncs continue, and orders keep their attempts and their places in the schedule. The pause stands in Redis: it holds for every worker, and across restarts.

    worker pause --mchid 1900000109 --reason "wrong amounts in last night's orders" --for 2h
    worker resume --mchid 1900000109 --reason "amounts corrected"

A second pause replaces the first one. A merchant without an order and a worker in this Redis is refused, since its number may be mistyped; only a Redis without any merchant takes it, with a warning. It needs REDIS_URL and no other setting.`
}

type resumeCommand struct{ who }

// Help is what "worker resume --help" says in full.
func (resumeCommand) Help() string {
	return `Ends the pause of a merchant. The orders that it has put off are due at once, and the rate spaces their calls. A queue that was paused by asynq's own tools is resumed as well.

    worker resume --mchid 1900000109 --reason "amounts corrected"`
}

// exitFailed is the exit status where Redis could not be used.
const exitFailed = 1

func (c pauseCommand) run(ctx context.Context, s session) int {
	if c.For < 0 {
		return s.fail(&tasks.FieldError{Field: "for", Problem: "is negative; write how long the pause lasts, such as 2h"})
	}
	return s.with(ctx, c.who, func(rdb redis.UniversalClient, mchid string, d ledger.Deed) error {
		first, err := knows(ctx, rdb, mchid)
		if err != nil {
			return err
		}
		p, err := control.Pause(ctx, rdb, mchid, d, c.For)
		if err != nil {
			return err
		}
		if first {
			s.p.Say("warning: merchant " + mchid + " has no orders in this Redis, and no worker has run for it. If the number is wrong, the right merchant is still collected")
		}
		until := "until worker resume"
		if !p.Until.IsZero() {
			t := explain.Teller{Now: p.Since, Zone: time.Local}
			until = "until " + t.AtZone(p.Until) + ", or worker resume"
		}
		_, err = fmt.Fprintf(s.p.Stdout, "paused: no collect call for merchant %s %s\n", mchid, until)
		return err
	})
}

func (c resumeCommand) run(ctx context.Context, s session) int {
	return s.with(ctx, c.who, func(rdb redis.UniversalClient, mchid string, d ledger.Deed) error {
		if _, err := knows(ctx, rdb, mchid); err != nil {
			return err
		}
		was, err := control.Resume(ctx, rdb, mchid, d)
		if err != nil {
			return err
		}
		said := "resumed: merchant %s is collected again\n"
		if !was {
			said = "merchant %s was not paused\n"
		}
		_, err = fmt.Fprintf(s.p.Stdout, said, mchid)
		return err
	})
}

// knows returns an error if nothing in this Redis knows the merchant, but another one: its
// number is mistyped. It reports whether this would be the first merchant, which may be
// paused before its first order.
func knows(ctx context.Context, rdb redis.UniversalClient, mchid string) (first bool, err error) {
	known, err := ledger.New(rdb, mchid).Known(ctx)
	if err != nil || known {
		return false, err
	}
	all, err := ledger.Merchants(ctx, rdb)
	if err != nil || len(all) == 0 {
		return err == nil, err
	}
	return false, &tasks.FieldError{Field: "mchid", Problem: fmt.Sprintf("is %s, and this Redis has no order and no worker of that merchant: check the number; outcomes stats lists the merchants", mchid)}
}

// session is what these commands work with.
type session struct {
	p     config.Process
	redis redisconn.Options
	mchid string // WECHATPAY_MCHID
}

// redisPatience is how long Redis may take to answer: a person is waiting.
const redisPatience = 8 * time.Second

// with calls do with a Redis that answers, the merchant and the deed.
func (s session) with(ctx context.Context, w who, do func(redis.UniversalClient, string, ledger.Deed) error) int {
	mchid := cmp.Or(w.MchID, s.mchid)
	if err := cmp.Or(tasks.ValidateMchID(mchid), tasks.ValidateReason(w.Reason)); err != nil {
		return s.fail(err)
	}
	redisconn.RedirectLog(zerolog.Nop()) // errors say what is wrong
	rdb := s.redis.Open(redisconn.Pool{Name: "payscore-control"})
	defer rdb.Close()
	asking, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	if err := rdb.Ping(asking).Err(); err != nil {
		return s.fail(fmt.Errorf("cannot use Redis at %s: %w", s.redis, s.redis.Explain(ctx, err)))
	}
	if err := do(rdb, mchid, ledger.Deed{By: config.By(), Reason: w.Reason, Token: ledger.NewToken()}); err != nil {
		return s.fail(err)
	}
	return config.ExitOK
}

// fail prints an error and returns its exit status.
func (s session) fail(err error) int {
	if field, ok := errors.AsType[*tasks.FieldError](err); ok {
		s.p.Complain(fmt.Errorf("--%s %s", field.Field, field.Problem))
		return config.ExitUsage
	}
	if r := redisconn.Explain(err); r.Kind.Answers() && r.Kind != redisconn.Refused && !errors.Is(err, r) {
		err = fmt.Errorf("%w: %s", err, r.Advice())
	}
	s.p.Complain(err)
	return exitFailed
}
