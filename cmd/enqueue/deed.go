package main

import (
	"context"
	"fmt"

	"payscore-collector/internal/config"
	"payscore-collector/internal/intake"
	"payscore-collector/internal/ledger"
	"payscore-collector/tasks"
)

// deedFlags are those of the commands that do something to orders of the ledger, and say
// why.
type deedFlags struct {
	MchID string `name:"mchid" placeholder:"NUMBER" help:"Merchant number (default $WECHATPAY_MCHID)."`
	JSON  bool   `name:"json" help:"One JSON object a line on standard output."`

	Numbers numbers `arg:"" optional:"" name:"no ..." help:"out_order_no of each order; those that begin with a dash behind --."`
	Reason  string  `required:"" placeholder:"TEXT" help:"Why, in your own words, for those who ask later; at most 200 characters."`
}

// settings returns the settings of a command, and the merchant of its orders.
func (f deedFlags) settings(command string, load loader) (cfg config.Client, mchid string, err error) {
	if len(f.Numbers) == 0 {
		return cfg, "", fmt.Errorf("write at least one order number: enqueue %s NO … --reason TEXT", command)
	}
	if cfg, err = load(true); err != nil {
		return cfg, "", err
	}
	owner, err := commonFlags{MchID: f.MchID}.owner(cfg.Order)
	if err == nil {
		err = missing(owner, func(name string) bool { return name != "mchid" })
	}
	return cfg, owner.MchID, err
}

// each does it to the orders one by one, and returns the exit status. A deed whose answer
// is lost is repeated with the same token, as itself.
func (f deedFlags) each(ctx context.Context, r *reporter, s intake.Submitter, mchid string, do func(ctx context.Context, no, token string) (tasks.Result, error)) int {
	for _, no := range f.Numbers {
		if ctx.Err() != nil || r.failed != nil {
			break
		}
		token := ledger.NewToken()
		res := s.Do(ctx, func(ctx context.Context) (tasks.Result, error) { return do(ctx, no, token) })
		if res.Status == tasks.Absent {
			res = tasks.Result{Status: tasks.Invalid, Err: fmt.Errorf(
				"there is no such order in the ledger of merchant %s; --mchid names another merchant", mchid)}
		}
		r.result(intake.Item{Order: tasks.Order{Payload: tasks.Payload{MchID: mchid, OutOrderNo: no}}}, res)
	}
	status, _ := r.end(len(f.Numbers))
	return status
}
