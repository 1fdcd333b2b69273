package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxRequestBody bounds what a call may send; the real ones are far smaller.
const maxRequestBody = 64 << 10

// platform serves one kind of call. orderNo returns the order's number in it.
func (s *Simulator) platform(kind Call, orderNo func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := s.begin(kind, orderNo(r))
		defer func() {
			if s.watch != nil {
				s.watch(c.seen)
			}
		}()
		defer c.end()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
		if err != nil {
			if tooLarge, is := errors.AsType[*http.MaxBytesError](err); is {
				// What was not read cannot have been verified.
				s.deliver(w, r, c, paramError(fmt.Sprintf("请求体超过%d字节", tooLarge.Limit)).reply().unsigned())
				return
			}
			reset(w) // the client left while it was sending
			return
		}
		// From here on the server notices when the client leaves.
		stop := context.AfterFunc(r.Context(), c.end)
		defer stop()
		f := *s.faults.Load()
		luck := drawFor(s.seed.Load(), c.no, c.n)
		rep := s.answer(r, c, body, f, luck)
		// After the call took effect: it did so even for a client that does not wait
		// for the reply, as with the real platform.
		if !sleep(r.Context(), time.Duration(f.Latency)+time.Duration(luck.jitter*float64(f.LatencyJitter))) {
			// Without a reply net/http would answer 200; the client may still be
			// connected where the simulator is shutting down.
			reset(w)
			return
		}
		s.deliver(w, r, c, rep)
	}
}

// sleep reports whether d passed before ctx was done.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer makes the reply, after the call took effect or not.
func (s *Simulator) answer(r *http.Request, c *call, body []byte, f Faults, luck draws) reply {
	if f.Down {
		s.suffer(c, faultDown)
		return pageReply(http.StatusBadGateway)
	}
	nonce, refusal := s.authorize(r, body)
	if refusal != nil {
		s.audit.count(func(r *Report) { r.RejectedSignatures++ })
		return refusal.reply().unsigned()
	}
	switch {
	case f.SignError:
		s.suffer(c, faultSignError)
		return signError("serial_no", "the merchant's API certificate is not valid any more", nil).reply().unsigned()
	case f.NoAuth:
		s.suffer(c, faultNoAuth)
		return errNoAuth.reply()
	case !s.pace.admit(f.MaxRate, time.Now()):
		s.suffer(c, faultRate)
		return errTooFrequent.reply()
	}
	t := s.treatment(c, f, luck)
	if t.way == wayReset && !t.acts {
		// The request never reached the platform, so its nonce is still new:
		// Go's own transport sends a GET again by itself after such a reset.
		s.nonces.forget(nonce)
	}
	var rep reply
	if t.acts {
		rep = s.act(r, c, body, f)
	}
	c.seen.Own = t.acts && t.instead == nil
	if t.instead != nil {
		rep = *t.instead
	}
	if t.how != signGood {
		rep.how = t.how
	}
	rep.way = t.way
	return rep
}

// act lets the call take effect, and returns the honest reply.
func (s *Simulator) act(r *http.Request, c *call, body []byte, f Faults) reply {
	switch c.kind {
	case CallCertificates:
		return s.certificates()
	case CallBill:
		return s.askBill(r)
	case CallBillFile:
		return s.downloadBill(r)
	case CallOther:
		return apiError{status: http.StatusNotFound, code: "RESOURCE_NOT_EXISTS", message: "接口不存在", detailCode: detailParam}.reply()
	}
	ask, err := parseAsk(r, c.kind, body)
	if err != nil {
		return paramError(err.Error()).reply()
	}
	if !validOrderNo(c.no) {
		return paramError("out_order_no须为1到32位的数字、大小写字母或_|*-").reply()
	}
	if ask.AppID != s.id.AppID || ask.ServiceID != s.id.ServiceID {
		return errNoAuth.reply()
	}
	if c.order == nil {
		return errUnknownOrder.reply()
	}
	switch c.kind {
	case CallCollect:
		return c.order.collect(s.id.Merchant, f, s.clock())
	case CallSync:
		return c.order.sync(s.id.Merchant, ask.paidAt, s.clock())
	default:
		return c.order.query(s.id.Merchant, s.clock())
	}
}

// ask holds the parameters of a call beside the order's number.
type ask struct {
	AppID     string `json:"appid"`
	ServiceID string `json:"service_id"`
	Type      string `json:"type"` // sync only, as Detail
	Detail    struct {
		PaidTime string `json:"paid_time"`
	} `json:"detail"`

	paidAt time.Time
}

func parseAsk(r *http.Request, kind Call, body []byte) (ask, error) {
	var a ask
	if kind == CallQuery {
		q := r.URL.Query()
		a.AppID, a.ServiceID = q.Get("appid"), q.Get("service_id")
	} else if err := json.Unmarshal(body, &a); err != nil {
		return ask{}, errors.New("请求体不是合法的JSON对象")
	}
	if a.AppID == "" || a.ServiceID == "" {
		return ask{}, errors.New("appid和service_id为必填")
	}
	if kind == CallSync {
		if a.Type != "Order_Paid" {
			return ask{}, errors.New("type须为Order_Paid")
		}
		var err error
		if a.paidAt, err = time.ParseInLocation(bodyTime, a.Detail.PaidTime, chinaTime); err != nil {
			return ask{}, errors.New("detail.paid_time须为yyyyMMddHHmmss")
		}
	}
	return a, nil
}

// certificates is the call GET /v3/certificates.
func (s *Simulator) certificates() reply {
	type certificate struct {
		SerialNo           string `json:"serial_no"`
		EffectiveTime      string `json:"effective_time"`
		ExpireTime         string `json:"expire_time"`
		EncryptCertificate sealed `json:"encrypt_certificate"`
	}
	box, err := s.id.seal([]byte(s.id.CertificatePEM()), "certificate")
	if err != nil {
		return apiError{status: http.StatusInternalServerError, code: "SYSTEM_ERROR", message: err.Error(), detailCode: detailSystem}.reply()
	}
	cert := s.id.Certificate
	return jsonReply(map[string][]certificate{"data": {{
		SerialNo:           s.id.CertificateSerialNo,
		EffectiveTime:      cert.NotBefore.In(chinaTime).Format(time.RFC3339),
		ExpireTime:         cert.NotAfter.In(chinaTime).Format(time.RFC3339),
		EncryptCertificate: box,
	}}})
}
