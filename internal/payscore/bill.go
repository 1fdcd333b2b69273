package payscore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/wechatpay-apiv3/wechatpay-go/core/auth/credentials"
	"github.com/wechatpay-apiv3/wechatpay-go/core/consts"
)

// Bill is where a day's trade bill is, by WeChat Pay's signed word.
type Bill struct {
	SHA1 string // of the uncompressed bill
	URL  string // valid for BillLink
	At   time.Time
}

// BillLink is how long the link to a bill is used. WeChat Pay's documentation says five
// minutes.
const BillLink = 4 * time.Minute

// BillState says why there is no bill.
type BillState string

// The reasons why there is no bill.
const (
	// NoStatement: there were no transactions that day. Signed, it is final.
	NoStatement BillState = "no_statement"
	// NotReady: the bill is still being made; ask again in half an hour.
	NotReady BillState = "not_ready"
	// Refused: by the request or the merchant's set-up; asking again does not help.
	BillRefused BillState = "refused"
	// TryAgain: too fast, trouble of the platform or of the network.
	TryAgain BillState = "try_again"
)

// BillError is why there is no bill. Its text has no secret, no URL and nothing that came
// unsigned but WeChat Pay's code, cleaned message and Request-ID.
type BillError struct {
	State      BillState
	HTTPStatus int
	Code       string
	Message    string
	RequestID  string
}

func (e *BillError) Error() string {
	s := e.Message
	if e.Code != "" {
		s = e.Code + ": " + s
	}
	if e.HTTPStatus != 0 {
		s = fmt.Sprintf("HTTP %d, %s", e.HTTPStatus, s)
	}
	if e.RequestID != "" {
		s += " (Request-ID " + e.RequestID + ")"
	}
	return s
}

// AskBill asks for the bill of a day, by its date in Shanghai, of all transactions. An
// error is a *BillError.
func (c *Client) AskBill(ctx context.Context, day time.Time) (Bill, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if p, ok := c.verifier.(*platformCerts); ok {
		if cert := p.prepare(ctx); cert != nil {
			return Bill{}, &BillError{TryAgain, cert.HTTPStatus, cert.Code, cert.Message, cert.RequestID}
		}
	}
	x := exchange{}
	_, err := c.core.Request(x.with(ctx), http.MethodGet, apiHost+"/v3/bill/tradebill", nil,
		url.Values{"bill_date": {day.Format(time.DateOnly)}, "bill_type": {"ALL"}, "tar_type": {"GZIP"}}, nil, consts.ApplicationJSON)
	if x.answer == nil {
		return Bill{}, &BillError{State: TryAgain, Message: clip(describe(err, c.timeout))}
	}
	var r Reply
	if x.answer.failed() {
		r.Verified = c.validator.Validate(ctx, x.answer.response()) == nil
		r.decideError(x.answer)
		return Bill{}, &BillError{billState(r), r.HTTPStatus, r.Code, r.Message, r.RequestID}
	}
	r.received(x.answer)
	fail := func(message string) (Bill, error) {
		return Bill{}, &BillError{State: TryAgain, HTTPStatus: r.HTTPStatus, Message: message, RequestID: r.RequestID}
	}
	if err != nil {
		return fail("the reply's signature is not WeChat Pay's")
	}
	var said struct {
		HashType    string `json:"hash_type"`
		HashValue   string `json:"hash_value"`
		DownloadURL string `json:"download_url"`
	}
	switch err := json.Unmarshal(x.answer.body, &said); {
	case err != nil:
		return fail(notAnObject)
	case said.HashType != "SHA1" || said.HashValue == "":
		return fail("the reply is signed, and names no SHA1 of the bill")
	case said.DownloadURL == "":
		return fail("the reply is signed, and names no download_url")
	}
	return Bill{SHA1: said.HashValue, URL: said.DownloadURL, At: time.Now()}, nil
}

// billState decides an error reply to a request for a bill.
func billState(r Reply) BillState {
	switch {
	case r.Code == "NO_STATEMENT_EXIST" && r.Verified:
		return NoStatement
	case r.Code == "STATEMENT_CREATING":
		return NotReady
	case r.Code == "NO_STATEMENT_EXIST", r.HTTPStatus >= 500, r.HTTPStatus == http.StatusTooManyRequests, r.Code == "":
		return TryAgain
	}
	return BillRefused
}

// DownloadBill opens a bill at its link. The request is signed and the answer is not: the
// caller must compare the SHA1 of the uncompressed bill. The link must be on the API's own
// host, since the request's signature goes there. An error is a *BillError.
func (c *Client) DownloadBill(ctx context.Context, b Bill) (io.ReadCloser, error) {
	u, err := url.Parse(b.URL)
	hosts := []string{"api.mch.weixin.qq.com", "api2.mch.weixin.qq.com", c.wire.primary.Host}
	if c.wire.backup != nil {
		hosts = append(hosts, c.wire.backup.Host)
	}
	if err != nil || u.User != nil || u.Scheme != "https" && u.Host != c.wire.primary.Host || !slices.Contains(hosts, u.Host) {
		return nil, &BillError{State: BillRefused, Message: "the download_url is not on the API's host"}
	}
	// The path and query are signed and sent exactly as they were given.
	authorization, err := (&credentials.WechatPayCredentials{Signer: c.signer}).GenerateAuthorizationHeader(ctx, http.MethodGet, u.RequestURI(), "")
	if err != nil {
		return nil, &BillError{State: TryAgain, Message: "the request cannot be signed"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL, nil)
	if err != nil {
		return nil, &BillError{State: BillRefused, Message: "the download_url is not a URL"}
	}
	req.URL.Scheme, req.URL.Host, req.Host = c.wire.primary.Scheme, c.wire.primary.Host, ""
	req.Header.Set(consts.Authorization, authorization)
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", "payscore-collector")
	if p := c.wire.pacer; p != nil && p.Wait(ctx) != nil {
		return nil, &BillError{State: TryAgain, Message: errTooLate.Error()}
	}
	resp, err := c.wire.base.RoundTrip(req)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return nil, err
		}
		return nil, &BillError{State: TryAgain, Message: clip(describe(err, c.timeout))}
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, &BillError{State: TryAgain, Message: errSwitched.Error()}
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // a broken one has no code
	var r Reply
	r.decideError(&answer{status: resp.StatusCode, header: resp.Header, body: body})
	state := TryAgain
	if r.HTTPStatus == http.StatusUnauthorized || r.HTTPStatus == http.StatusForbidden {
		state = BillRefused
	}
	return nil, &BillError{state, r.HTTPStatus, r.Code, r.Message, r.RequestID}
}
