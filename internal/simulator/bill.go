package simulator

import (
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bill says how the platform makes its daily trade bills. The zero value is the truth:
// every payment of the day through the platform, those by a deduction as AUTH and those by
// the user in the app as JSAPI, and two rows of other business. A day without a payment has
// no bill (NO_STATEMENT_EXIST), unless something here makes rows.
//
// The lies are about the day's payments in the order of their time: the first MissingRows
// of them, then the next AmountsOff, and so on.
type Bill struct {
	// MissingRows payments are not in the bill.
	MissingRows int `json:"missing_rows"`
	// AmountsOff payments are in it with a fen more.
	AmountsOff int `json:"amounts_off"`
	// PaidTwice payments are followed by a second one of the same order and amount, by the
	// user.
	PaidTwice int `json:"paid_twice"`
	// Refunds payments were refunded the same day.
	Refunds int `json:"refunds"`
	// UnknownOrders rows are payments of PayScore orders that were never added.
	UnknownOrders int `json:"unknown_orders"`
	// OtherBusiness rows, in place of two, are the merchant's other business.
	OtherBusiness *int `json:"other_business,omitempty"`

	// WrongSummary writes a total that does not agree with the rows, and WrongHash names a
	// SHA1 that is not the bill's.
	WrongSummary bool `json:"wrong_summary"`
	WrongHash    bool `json:"wrong_hash"`
	// Creating answers STATEMENT_CREATING, and NoStatement NO_STATEMENT_EXIST.
	Creating    bool `json:"statement_creating"`
	NoStatement bool `json:"no_statement_exist"`
	// OldLayout leaves out the columns that the newest layout has added.
	OldLayout bool `json:"old_layout"`
}

// Validate reports the first invalid value, by its name in JSON.
func (b Bill) Validate() error {
	const most = 1_000_000
	for _, n := range []struct {
		name string
		n    int
	}{
		{"missing_rows", b.MissingRows}, {"amounts_off", b.AmountsOff}, {"paid_twice", b.PaidTwice}, {"refunds", b.Refunds},
		{"unknown_orders", b.UnknownOrders}, {"other_business", b.otherBusiness()},
	} {
		if n.n < 0 || n.n > most {
			return fmt.Errorf("%s is %d; it must be from 0 to %d", n.name, n.n, most)
		}
	}
	return nil
}

func (b Bill) otherBusiness() int {
	if b.OtherBusiness != nil {
		return *b.OtherBusiness
	}
	return 2
}

// SetBill replaces how bills are made. Its error names the invalid value.
func (s *Simulator) SetBill(b Bill) error {
	if err := b.Validate(); err != nil {
		return err
	}
	s.bill.Store(&b)
	return nil
}

// Bill returns how bills are made.
func (s *Simulator) Bill() Bill { return *s.bill.Load() }

// billColumns are the columns of a bill of all transactions, and successColumns of one of
// successful ones.
var (
	billColumns    = strings.Split("交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注", ",")
	successColumns = slices.Concat(billColumns[:14], billColumns[20:25], billColumns[26:])
)

// newestColumns are those that an old layout does not have.
var newestColumns = []string{"订单金额", "申请退款金额", "费率备注"}

// billRow is a row of a bill.
type billRow struct {
	at                          time.Time
	tx, tradeNo, openID, kind   string
	status, attach, description string
	amount, refund              int64 // fen
}

// yuan writes fen as bills do.
func yuan(fen int64) string { return fmt.Sprintf("%d.%02d", fen/100, fen%100) }

// fee is 0.6 % of a row, in 1/100,000 yuan.
func (r billRow) fee() int64 {
	if r.status != "SUCCESS" {
		return 0
	}
	return r.amount * 6
}

func feeText(fee int64) string { return fmt.Sprintf("%d.%05d", fee/100_000, fee%100_000) }

// fields are the row by columns. A column that is not there (设备号, 费率备注) is empty.
func (r billRow) fields(m Merchant) map[string]string {
	refundNo, refundType, refundStatus := "0", "", ""
	if r.refund != 0 {
		refundNo, refundType, refundStatus = "5030"+r.tx, "ORIGINAL", "SUCCESS"
	}
	return map[string]string{
		"交易时间": r.at.In(chinaTime).Format(time.DateTime), "公众账号ID": m.AppID, "商户号": m.MchID, "特约商户号": "0",
		"微信订单号": r.tx, "商户订单号": r.tradeNo, "用户标识": r.openID, "交易类型": r.kind, "交易状态": r.status,
		"付款银行": "OTHERS", "货币种类": "CNY", "应结订单金额": yuan(r.amount), "订单金额": yuan(r.amount),
		"代金券金额": "0.00", "充值券退款金额": "0.00", "退款金额": yuan(r.refund), "申请退款金额": yuan(r.refund),
		"微信退款单号": refundNo, "商户退款单号": refundNo, "退款类型": refundType, "退款状态": refundStatus,
		"商品名称": r.description, "商户数据包": r.attach, "手续费": feeText(r.fee()), "费率": "0.60%",
	}
}

// payments returns a row for each payment of a day through the platform, by time.
func (s *Simulator) payments(day time.Time) (rows []billRow) {
	s.mu.RLock()
	list := s.list
	s.mu.RUnlock()
	now, date := s.clock(), day.Format("20060102")
	for _, o := range list {
		o.mu.Lock()
		o.advance(now)
		for _, d := range o.details {
			if d.PaidType != PaidTypeNewton || !strings.HasPrefix(d.PaidTime, date) {
				continue
			}
			at, _ := time.ParseInLocation(bodyTime, d.PaidTime, chinaTime) // formatTime wrote it
			r := billRow{
				at: at, tx: d.TransactionID, openID: o.openID(), kind: "AUTH", status: "SUCCESS", amount: d.Amount, description: "共享充电宝",
				tradeNo: fmt.Sprintf("wxzff%s%012d%02d", date, o.seq, d.Seq), attach: "wxzff|" + o.orderID() + "|" + o.no,
			}
			if slices.Contains(o.byUser, d.Seq) {
				r.kind, r.tradeNo, r.attach = "JSAPI", o.no, ""
			}
			rows = append(rows, r)
		}
		o.mu.Unlock()
	}
	slices.SortStableFunc(rows, func(a, b billRow) int { return a.at.Compare(b.at) })
	return rows
}

// billRows returns the rows of a day's bill, with the lies in b.
func (s *Simulator) billRows(day time.Time, b Bill) (rows []billRow) {
	payments := s.payments(day)
	at := 0
	take := func(n int) []billRow {
		from := min(at, len(payments))
		at += n
		return payments[from:min(at, len(payments))]
	}
	take(b.MissingRows)
	for _, r := range take(b.AmountsOff) {
		r.amount++
		rows = append(rows, r)
	}
	for _, r := range take(b.PaidTwice) {
		rows = append(rows, r)
		_, no, _ := strings.Cut(strings.TrimPrefix(r.attach, "wxzff|"), "|")
		if r.kind == "AUTH" {
			r.kind, r.tradeNo, r.attach = "JSAPI", no, ""
		}
		r.tx = "43" + r.tx[2:]
		rows = append(rows, r)
	}
	for _, r := range take(b.Refunds) {
		rows = append(rows, r)
		r.status, r.refund, r.amount = "REFUND", r.amount, 0
		rows = append(rows, r)
	}
	rows = append(rows, take(len(payments))...)
	for n := range b.UnknownOrders {
		rows = append(rows, billRow{
			at: day.Add(10 * time.Hour), tx: fmt.Sprintf("44000%s%015d", day.Format("20060102"), n), kind: "AUTH", status: "SUCCESS", amount: 100 + int64(n),
			openID: "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", tradeNo: fmt.Sprintf("wxzff%s9%013d", day.Format("20060102"), n),
			attach: fmt.Sprintf("wxzff|9%019d|NEVER-ADDED-%d", n, n), description: "共享充电宝",
		})
	}
	if len(payments) == 0 && len(rows) == 0 && b.OtherBusiness == nil {
		return nil
	}
	for n := range b.otherBusiness() {
		r := billRow{
			at: day.Add(12 * time.Hour), tx: fmt.Sprintf("45000%s%015d", day.Format("20060102"), n), kind: "JSAPI", status: "SUCCESS", amount: 1990,
			openID: "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", tradeNo: fmt.Sprintf("SHOP%s%d", day.Format("20060102"), n), description: "充电线",
		}
		if n%2 == 1 {
			r.kind = "NATIVE"
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b billRow) int { return a.at.Compare(b.at) })
	return rows
}

// billText writes a bill.
func (s *Simulator) billText(rows []billRow, columns []string, b Bill) []byte {
	if b.OldLayout {
		columns = slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return slices.Contains(newestColumns, c) })
	}
	var text bytes.Buffer
	text.WriteString("\ufeff" + strings.Join(columns, ",") + "\r\n")
	var amount, refund, fee int64
	for _, r := range rows {
		fields := r.fields(s.id.Merchant)
		for i, c := range columns {
			if i > 0 {
				text.WriteByte(',')
			}
			text.WriteString("`" + strings.ReplaceAll(fields[c], ",", " "))
		}
		text.WriteString("\r\n")
		amount, refund, fee = amount+r.amount, refund+r.refund, fee+r.fee()
	}
	if b.WrongSummary {
		amount++
	}
	names, values := "总交易单数", fmt.Sprintf("`%d", len(rows))
	for _, t := range []struct{ name, column, sum string }{
		{"应结订单总金额", "应结订单金额", yuan(amount)}, {"退款总金额", "退款金额", yuan(refund)}, {"充值券退款总金额", "充值券退款金额", "0.00"},
		{"手续费总金额", "手续费", feeText(fee)}, {"订单总金额", "订单金额", yuan(amount)}, {"申请退款总金额", "申请退款金额", yuan(refund)},
	} {
		if slices.Contains(columns, t.column) {
			names, values = names+","+t.name, values+",`"+t.sum
		}
	}
	text.WriteString(names + "\r\n" + values + "\r\n")
	return text.Bytes()
}

var (
	errNoStatement = apiError{status: http.StatusBadRequest, code: "NO_STATEMENT_EXIST", message: "账单文件不存在", detailCode: detailParam}
	errCreating    = apiError{status: http.StatusBadRequest, code: "STATEMENT_CREATING", message: "账单生成中，请稍后再试", detailCode: detailParam}
)

// askBill is the call GET /v3/bill/tradebill.
func (s *Simulator) askBill(r *http.Request) reply {
	invalid := func(message string) reply {
		return apiError{status: http.StatusBadRequest, code: "INVALID_REQUEST", message: message, detailCode: detailParam}.reply()
	}
	q, b := r.URL.Query(), s.Bill()
	day, err := time.ParseInLocation(time.DateOnly, q.Get("bill_date"), chinaTime)
	if err != nil {
		return paramError("bill_date须为yyyy-MM-DD").reply()
	}
	now := s.clock().In(chinaTime)
	if real := time.Now().In(chinaTime); real.After(now) { // orders may live in the past
		now = real
	}
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, chinaTime)
	if !day.Before(today) || day.Before(today.AddDate(0, -3, 0)) {
		return invalid("账单日期须为今日之前的三个月内")
	}
	columns := billColumns
	switch q.Get("bill_type") {
	case "", "ALL":
	case "SUCCESS":
		columns = successColumns
	default:
		return invalid("bill_type须为ALL或SUCCESS")
	}
	if tar := q.Get("tar_type"); tar != "" && tar != "GZIP" {
		return paramError("tar_type须为GZIP").reply()
	}
	switch {
	case b.Creating:
		return errCreating.reply()
	case b.NoStatement:
		return errNoStatement.reply()
	}
	rows := s.billRows(day, b)
	if len(columns) < len(billColumns) {
		rows = slices.DeleteFunc(rows, func(r billRow) bool { return r.status != "SUCCESS" })
	}
	if len(rows) == 0 {
		return errNoStatement.reply()
	}
	text := s.billText(rows, columns, b)
	sum := sha1.Sum(text)
	if q.Get("tar_type") == "GZIP" {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, _ = w.Write(text) // a buffer takes everything
		_ = w.Close()
		text = z.Bytes()
	}
	if b.WrongHash {
		sum[0]++
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return jsonReply(map[string]string{
		"hash_type": "SHA1", "hash_value": hex.EncodeToString(sum[:]),
		"download_url": scheme + "://" + r.Host + "/v3/billdownload/file?token=" + s.files.keep(text, time.Now()),
	})
}

// downloadBill is the call GET /v3/billdownload/file, whose answer is not signed.
func (s *Simulator) downloadBill(r *http.Request) reply {
	text, ok := s.files.find(r.URL.Query().Get("token"), time.Now())
	if !ok {
		return apiError{status: http.StatusForbidden, code: "NO_AUTH", message: "下载链接已失效", detailCode: detailNoPermission}.reply()
	}
	return reply{status: http.StatusOK, body: text, detailCode: detailOK, how: signNone, contentType: "application/octet-stream"}
}

// files are the bills that can be downloaded. The zero value is ready.
type files struct {
	mu   sync.Mutex
	list []billFile // oldest first
}

type billFile struct {
	token string
	text  []byte
	until time.Time
}

// A link lasts so long, and so many last at once.
const (
	billLink  = 5 * time.Minute
	billLinks = 20
)

func (f *files) keep(text []byte, now time.Time) (token string) {
	token = randomHex(24)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, billFile{token, text, now.Add(billLink)})
	if len(f.list) > billLinks {
		f.list = f.list[1:]
	}
	return token
}

func (f *files) find(token string, now time.Time) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.list {
		if b.token == token && now.Before(b.until) {
			return b.text, true
		}
	}
	return nil, false
}
