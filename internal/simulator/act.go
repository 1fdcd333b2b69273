package simulator

import (
	"encoding/json"
	"net/http"
	"time"
)

// The detail codes behind Request-ID's last dash.
const (
	detailOK              = "0"
	detailDeclined        = "271316574"
	detailNotWaiting      = "271316657" // only while waiting for payment
	detailDeducting       = "271316754" // a deduction is running
	detailStateNotAllowed = "271302262"
	detailToBeConfirmed   = "271302332" // still to be confirmed or completed
	detailCancelled       = "271302333"
	detailNotFound        = "271317510"
	detailTooFrequent     = "268435472"
	detailNoPermission    = "268503786"
	detailAuthorization   = "270924332"
	detailParam           = "268435464"
	// No detail code is published for the platform's own trouble; this one is
	// invented.
	detailSystem = "268435458"
)

// apiError is a refusal in WeChat Pay's form.
type apiError struct {
	status        int
	code, message string
	detail        any    // the body's optional "detail"
	detailCode    string // behind Request-ID's last dash
}

func (e apiError) reply() reply {
	body, err := json.Marshal(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}{e.code, e.message, e.detail})
	if err != nil {
		// Cannot happen: JSON can express all of our types.
		body = []byte(`{"code":"SYSTEM_ERROR","message":"系统异常"}`)
	}
	return reply{status: e.status, body: body, detailCode: e.detailCode}
}

var (
	errUnknownOrder  = apiError{status: http.StatusNotFound, code: "ORDER_NOT_EXIST", message: "订单不存在", detailCode: detailNotFound}
	errToBeConfirmed = apiError{status: http.StatusBadRequest, code: "INVALID_ORDER_STATE", message: "单据状态错误，待用户确认或待商户完结", detailCode: detailToBeConfirmed}
	errExpired       = apiError{status: http.StatusBadRequest, code: "INVALID_ORDER_STATE", message: "单据状态不允许此操作", detailCode: detailStateNotAllowed}
	errCancelled     = apiError{status: http.StatusBadRequest, code: "ORDER_CANCELED", message: "单据已取消", detailCode: detailCancelled}
	errDone          = apiError{status: http.StatusBadRequest, code: "ORDER_DONE", message: "单据已完成，待支付状态才可操作", detailCode: detailNotWaiting}
	errDeducting     = apiError{status: http.StatusBadRequest, code: "INVALID_REQUEST", message: "订单正在扣款中，请稍后重试", detailCode: detailDeducting}
	errDeclined      = apiError{status: http.StatusForbidden, code: "TRADE_ERROR", message: "扣款失败", detailCode: detailDeclined}
	errTooFrequent   = apiError{status: http.StatusTooManyRequests, code: "FREQUENCY_LIMITED", message: "频率超限，请稍后重试", detailCode: detailTooFrequent}
	errNoAuth        = apiError{status: http.StatusForbidden, code: "NO_AUTH", message: "商户号与appid、service_id未绑定，或无接口权限", detailCode: detailNoPermission}
)

func paramError(message string) apiError {
	return apiError{status: http.StatusBadRequest, code: "PARAM_ERROR", message: message, detailCode: detailParam}
}

// taken is the reply to a collect or sync that the platform has accepted.
type taken struct {
	AppID      string `json:"appid"`
	MchID      string `json:"mchid"`
	OutOrderNo string `json:"out_order_no"`
	ServiceID  string `json:"service_id"`
	OrderID    string `json:"order_id"`
}

func (o *order) takenReply(m Merchant) reply {
	return jsonReply(taken{m.AppID, m.MchID, o.no, m.ServiceID, o.orderID()})
}

// refusal returns why the order can neither be collected nor synced, if so.
// The caller holds o.mu and has advanced it.
func (o *order) refusal() (apiError, bool) {
	switch {
	case !o.exists:
		return errUnknownOrder, true
	case o.state == StateCreated, o.state == StateDoing && o.description == DescriptionUserConfirm:
		return errToBeConfirmed, true
	case o.state == StateRevoked:
		return errCancelled, true
	case o.state == StateExpired:
		return errExpired, true
	case o.state == StateDone:
		return errDone, true
	case o.deducting > 0:
		return errDeducting, true
	}
	return apiError{}, false
}

// decline is the reply to a collect that the user's account declined. The caller holds o.mu.
func (o *order) decline(e apiError) reply {
	if o.audit.firstDecline == "" {
		o.audit.firstDecline = e.detailCode
	}
	return e.reply()
}

// collect is the call POST …/pay at the given time.
func (o *order) collect(m Merchant, f Faults, now time.Time) reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.advance(now)
	if o.exists {
		if !o.lastCollect.IsZero() && now.Sub(o.lastCollect) < f.orderGap() {
			return errTooFrequent.reply()
		}
		o.lastCollect = now
	}
	if e, refused := o.refusal(); refused {
		return e.reply()
	}
	payAt := now.Add(time.Duration(f.PayDelay))
	rest := o.total - o.paid
	switch o.plan.kind {
	case string(FateNever), fateUserPays:
		return o.decline(errDeclined)
	case fateDeclines:
		if o.declined < o.plan.declines {
			o.declined++
			return o.decline(errDeclined)
		}
	case fateUserPaying:
		o.deduct(rest, now.Add(o.plan.after), now)
		return jsonReply(map[string]string{"trade_state": "USERPAYING"})
	case fatePartial:
		if o.paid == 0 {
			rest = min(o.plan.first, rest)
		}
	case fateParts, fateMixed:
		letter, amount := o.nextPart()
		if letter == partElsewhere {
			o.pay(amount, PaidTypeMch, now)
			return o.decline(errDeclined)
		}
		rest = amount
	case fateLower:
		if o.declined < lowerAfter {
			if o.declined++; o.declined == lowerAfter {
				_ = o.lower(o.plan.first) // fails where a control call has done as much already
			}
			return o.decline(errDeclined)
		}
	}
	o.deduct(rest, payAt, now)
	return o.takenReply(m)
}

// query is the call GET serviceorder at the given time.
func (o *order) query(m Merchant, now time.Time) reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.advance(now)
	if !o.exists {
		return errUnknownOrder.reply()
	}
	r := jsonReply(o.entity(m))
	r.showsEnd, r.showsOwed = o.ended(), o.awaitsPayment()
	return r
}

// sync is the call POST …/sync at the given time; paidAt is when the merchant
// says that the user paid elsewhere.
func (o *order) sync(m Merchant, paidAt, now time.Time) reply {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.advance(now)
	if e, refused := o.refusal(); refused {
		return e.reply()
	}
	o.pay(o.total-o.paid, PaidTypeMch, paidAt)
	return o.takenReply(m)
}

// forged is a plausible 200 that has nothing to do with the truth.
func (o *order) forged(c Call, m Merchant, now time.Time) reply {
	if c != CallQuery {
		return o.takenReply(m)
	}
	o.mu.Lock()
	e, total := o.entity(m), o.total
	o.mu.Unlock()
	e.State, e.StateDescription, e.TotalAmount, e.NeedCollection = StateDone, "", total, true
	e.Collection = &Collection{
		State: CollectionUserPaid, TotalAmount: total, PaidAmount: total,
		Details: []PaymentDetail{{
			Seq: 1, Amount: total, PaidType: PaidTypeNewton, PaidTime: formatTime(now),
			TransactionID: "4200009999999999999999999999",
		}},
	}
	return jsonReply(e)
}
