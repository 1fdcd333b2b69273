// Package books holds the ledger against WeChat Pay's daily trade bill. bill.go reads a
// bill, money.go its amounts, compare.go compares a day, and words are in package explain.
//
// A bill is a second witness, and an unsigned one: nothing in this package makes an order
// paid.
package books

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// China is the time of a bill and of its days.
var China = time.FixedZone("Asia/Shanghai", 8*60*60)

// Day is a day of Asia/Shanghai, by its first moment.
func Day(t time.Time) time.Time {
	t = t.In(China)
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, China)
}

// Statuses of a row (交易状态).
const (
	StatusSuccess = "SUCCESS"
	StatusRefund  = "REFUND"
	StatusRevoked = "REVOKED"
)

// Row is what the comparison needs of one row of a bill. Amounts are in fen.
type Row struct {
	Line          int
	At            time.Time // 交易时间
	MchID         string    // 商户号
	SubMchID      string    // 特约商户号; empty or 0 for a direct merchant
	TransactionID string    // 微信订单号
	OutTradeNo    string    // 商户订单号
	Type          string    // 交易类型
	Status        string    // 交易状态
	Attach        string    // 商户数据包

	// Amount is 订单金额, the amount of the order. A layout without that column says only
	// what is settled and what a coupon paid: the amount is then from Amount to
	// Amount + Coupon.
	Amount, Coupon int64
	// Refund is 申请退款金额, or 退款金额 in a layout without that column.
	Refund               int64
	RefundID, RefundType string
}

// PayScore returns the order of an automatic deduction of PayScore, which names it in
// 商户数据包 as wxzff|order_id|out_order_no. An out_order_no may itself have a |.
func (r Row) PayScore() (orderID, outOrderNo string, ok bool) {
	if r.Type != "AUTH" || !strings.HasPrefix(r.Attach, "wxzff|") {
		return "", "", false
	}
	parts := strings.SplitN(r.Attach, "|", 3)
	if len(parts) == 3 {
		outOrderNo = parts[2]
	}
	return parts[1], outOrderNo, true
}

// ByUser reports whether the row can be a payment that the user made in the app: its
// 商户订单号 is then the out_order_no.
func (r Row) ByUser() bool { return r.Type == "JSAPI" }

// Summary is what a bill comes to. It is returned only where the bill's own summary agrees.
type Summary struct {
	Rows int64
	SHA1 string // of the uncompressed bill
}

// Error is why a bill is refused.
type Error struct {
	Line   int // 0: the file as a whole
	Reason string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return "the bill is refused: " + e.Reason
	}
	return fmt.Sprintf("the bill is refused at line %d: %s", e.Line, e.Reason)
}

// Bounds of a bill. The longest line that the documented widths of the columns allow has
// about 2 KiB.
const (
	maxLine  = 64 << 10
	maxBytes = 16 << 30
	maxRows  = 20_000_000
)

// The columns that the comparison needs. Others are read past, wherever they stand.
const (
	colTime        = "交易时间"
	colMchID       = "商户号"
	colSubMchID    = "特约商户号"
	colTransaction = "微信订单号"
	colOutTradeNo  = "商户订单号"
	colType        = "交易类型"
	colStatus      = "交易状态"
	colAttach      = "商户数据包"
	colAmount      = "订单金额"
	colSettled     = "应结订单金额"
	colCoupon      = "代金券金额"
	colTotal       = "总金额"    // 应结订单金额 of the oldest layout
	colRedPacket   = "企业红包金额" // 代金券金额 of the oldest layout
	colRefundID    = "微信退款单号"
	colRefund      = "退款金额"
	colRefundAsked = "申请退款金额"
	colRefundType  = "退款类型"
	colFee         = "手续费"
	colRows        = "总交易单数"
)

var required = []string{colTime, colMchID, colTransaction, colOutTradeNo, colType, colStatus, colAttach}

// sums are the totals of the summary, each with the columns whose sum it is, of which a
// layout has one. Columns that stand under several names are the same column of older
// layouts.
var sums = map[string][]string{
	"应结订单总金额":       {colSettled},
	"总交易额":          {colTotal},
	"退款总金额":         {colRefund},
	"总退款金额":         {colRefund},
	"充值券退款总金额":      {"充值券退款金额"},
	"总企业红包退款金额":     {"企业红包退款金额"},
	"代金券或立减优惠总金额":   {"代金券或立减优惠金额"},
	"总代金券或立减优惠退款金额": {"代金券或立减优惠退款金额"},
	"手续费总金额":        {colFee},
	"订单总金额":         {colAmount},
	"申请退款总金额":       {colRefundAsked},
}

// Read reads a bill, plain or gzip, row by row. each gets every row before it is known
// whether the bill's summary agrees: nothing may come of the rows where Read returns an
// error. A refused bill is an *Error; other errors are those of r and of each.
func Read(r io.Reader, each func(Row) error) (Summary, error) {
	plain, err := unpack(r)
	if err != nil {
		return Summary{}, err
	}
	sum := sha1.New()
	b := bill{in: bufio.NewReaderSize(io.TeeReader(&bounded{plain, maxBytes}, sum), maxLine)}
	if err := b.read(each); err != nil {
		return Summary{}, err
	}
	return Summary{Rows: b.rows, SHA1: hex.EncodeToString(sum.Sum(nil))}, nil
}

// unpack returns the plain text of a bill.
func unpack(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	start, err := in.Peek(2)
	if len(start) < 2 {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, &Error{Reason: "it is empty"}
	}
	switch string(start) {
	case "\x1f\x8b":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, badGzip(err)
		}
		return unzipping{z}, nil
	case "PK":
		return nil, &Error{Reason: "it is a ZIP archive; unpack it and name the file in it"}
	case "\xff\xfe", "\xfe\xff":
		return nil, &Error{Reason: "it is UTF-16; it was saved by another program. Download it again"}
	}
	return in, nil
}

type unzipping struct{ z *gzip.Reader }

func (u unzipping) Read(p []byte) (int, error) {
	n, err := u.z.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = badGzip(err)
	}
	return n, err
}

func badGzip(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &Error{Reason: "the compressed file ends too early; download it again"}
	}
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || strings.HasPrefix(err.Error(), "flate:") {
		return &Error{Reason: "the compressed file is damaged; download it again"}
	}
	return err
}

// bounded reads up to left bytes, and fails where there are more.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &Error{Reason: fmt.Sprintf("it is larger than %d bytes", int64(maxBytes))}
	}
	return n, err
}

// bill is a bill while it is read.
type bill struct {
	in   *bufio.Reader
	line int

	names  []string // of the columns
	at     map[string]int
	fields []string // of the row
	// summed are the columns whose sum the summary may have, in millionths of a yuan.
	summed []summedColumn
	rows   int64
}

type summedColumn struct {
	name string
	at   int
	sum  int64
}

func (b *bill) fail(format string, args ...any) error {
	return &Error{Line: b.line, Reason: fmt.Sprintf(format, args...)}
}

// next returns the next line that is not empty, without its end. io.EOF is the end.
func (b *bill) next() ([]byte, error) {
	for {
		text, err := b.in.ReadSlice('\n')
		if len(text) == 0 && errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		b.line++
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, b.fail("the line is longer than %d bytes", maxLine)
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		if b.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if text = bytes.TrimRight(text, "\r\n"); len(text) > 0 {
			return text, nil
		}
	}
}

func (b *bill) read(each func(Row) error) error {
	line, err := b.next()
	if errors.Is(err, io.EOF) {
		return &Error{Reason: "it is empty"}
	}
	if err != nil {
		return err
	}
	if err := b.header(line); err != nil {
		return err
	}
	for {
		line, err := b.next()
		if errors.Is(err, io.EOF) {
			return &Error{Line: b.line, Reason: "the bill ends without its summary, so rows may be missing; download it again"}
		}
		if err != nil {
			return err
		}
		if line[0] != '`' {
			return b.summary(string(line))
		}
		if b.rows++; b.rows > maxRows {
			return b.fail("there are more than %d rows", maxRows)
		}
		row, err := b.row(string(line))
		if err != nil {
			return err
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

// headers splits a line of headers.
func (b *bill) headers(line string) (names []string, at map[string]int, err error) {
	if !utf8.ValidString(line) {
		return nil, nil, b.fail("the headers are not UTF-8; the file was saved by another program, such as Excel. Download it again")
	}
	names = strings.Split(line, ",")
	at = make(map[string]int, len(names))
	for i, name := range names {
		name = strings.TrimSpace(name)
		if _, twice := at[name]; twice {
			return nil, nil, b.fail("the layout is unknown: there are two columns %s", shown(name))
		}
		names[i], at[name] = name, i
	}
	return names, at, nil
}

func (b *bill) header(line []byte) (err error) {
	if line[0] == '`' {
		return b.fail("the layout is unknown: the line with the names of the columns is missing")
	}
	if b.names, b.at, err = b.headers(string(line)); err != nil {
		return err
	}
	if b.has("退款申请时间") || b.has("退款成功时间") {
		return b.fail("it is a bill of refunds (bill_type=REFUND), which has no payments; download the bill of all transactions (ALL)")
	}
	var missing []string
	for _, name := range required {
		if !b.has(name) {
			missing = append(missing, name)
		}
	}
	if !b.has(colAmount) && !b.has(colSettled) && !b.has(colTotal) {
		missing = append(missing, colAmount)
	}
	if len(missing) > 0 {
		return b.fail("the layout is unknown: there is no column %s", strings.Join(missing, ", "))
	}
	for i, name := range b.names {
		for _, of := range sums {
			if slices.Contains(of, name) {
				b.summed = append(b.summed, summedColumn{name: name, at: i})
			}
		}
	}
	return nil
}

func (b *bill) has(column string) bool { _, ok := b.at[column]; return ok }

// split splits a row, whose fields each begin with a backtick. WeChat Pay replaces the
// commas inside of fields.
func (b *bill) split(line string, columns int) error {
	b.fields = b.fields[:0]
	for rest, more := line, true; more; {
		var field string
		if field, rest, more = strings.Cut(rest, ","); field == "" || field[0] != '`' {
			return b.fail("field %d does not begin with a backtick", len(b.fields)+1)
		}
		b.fields = append(b.fields, field[1:])
		if len(b.fields) > columns {
			break
		}
	}
	if n := len(b.fields); n > columns {
		return b.fail("the row has more fields than the %d columns", columns)
	} else if n < columns {
		return b.fail("the row has %d fields, and there are %d columns", n, columns)
	}
	return nil
}

// field returns a field of the row; of a column that the layout does not have, "".
func (b *bill) field(column string) string {
	if i, ok := b.at[column]; ok {
		return strings.TrimSpace(b.fields[i])
	}
	return ""
}

// amount returns the fen of the first of some columns that the layout has.
func (b *bill) amount(columns ...string) (int64, error) {
	for _, name := range columns {
		if !b.has(name) {
			continue
		}
		fen, ok := Fen(b.field(name))
		if !ok || fen < 0 {
			return 0, b.fail("%s is %s; it must be an amount in yuan with at most two decimals", name, shown(b.field(name)))
		}
		return fen, nil
	}
	return 0, nil
}

func (b *bill) row(line string) (Row, error) {
	if err := b.split(line, len(b.names)); err != nil {
		return Row{}, err
	}
	for i := range b.summed {
		c := &b.summed[i]
		micros, _, ok := micros(strings.TrimSpace(b.fields[c.at]))
		if !ok {
			return Row{}, b.fail("%s is %s; it must be an amount in yuan", c.name, shown(b.fields[c.at]))
		}
		if c.sum += micros; c.sum > maxSum || c.sum < -maxSum {
			return Row{}, b.fail("the sum of %s is larger than any merchant's", c.name)
		}
	}
	at, err := time.ParseInLocation(time.DateTime, b.field(colTime), China)
	if err != nil {
		return Row{}, b.fail("%s is %s; it must be a time such as 2026-11-26 10:33:12", colTime, shown(b.field(colTime)))
	}
	r := Row{
		Line: b.line, At: at,
		MchID: b.field(colMchID), SubMchID: b.field(colSubMchID),
		TransactionID: b.field(colTransaction), OutTradeNo: b.field(colOutTradeNo),
		Type: b.field(colType), Status: b.field(colStatus), Attach: b.field(colAttach),
		RefundID: b.field(colRefundID), RefundType: b.field(colRefundType),
	}
	switch r.Status {
	case StatusSuccess, StatusRefund, StatusRevoked:
	default:
		return Row{}, b.fail("%s is %s; it must be SUCCESS, REFUND or REVOKED", colStatus, shown(r.Status))
	}
	if r.TransactionID == "" {
		return Row{}, b.fail("%s is empty", colTransaction)
	}
	if r.Amount, err = b.amount(colAmount, colSettled, colTotal); err != nil {
		return Row{}, err
	}
	if !b.has(colAmount) {
		if r.Coupon, err = b.amount(colCoupon, colRedPacket, "代金券或立减优惠金额"); err != nil {
			return Row{}, err
		}
	}
	r.Refund, err = b.amount(colRefundAsked, colRefund)
	return r, err
}

// summary reads the two lines behind the last row, and compares them with the rows.
func (b *bill) summary(line string) error {
	names, at, err := b.headers(line)
	if err != nil {
		return err
	}
	if _, ok := at[colRows]; !ok {
		return b.fail("it is neither a row, whose fields begin with a backtick, nor the header of the summary, which has %s", colRows)
	}
	values, err := b.next()
	if errors.Is(err, io.EOF) {
		return b.fail("the bill ends before the values of its summary; download it again")
	}
	if err != nil {
		return err
	}
	if err := b.split(string(values), len(names)); err != nil {
		return err
	}
	for i, name := range names {
		value := strings.TrimSpace(b.fields[i])
		if name == colRows {
			if n, err := strconv.ParseInt(value, 10, 64); err != nil || n != b.rows {
				return b.fail("%s is %s, and the bill has %d rows: it is incomplete. Download it again", name, shown(value), b.rows)
			}
			continue
		}
		for _, c := range b.summed {
			if slices.Contains(sums[name], c.name) {
				if err := b.agrees(name, value, c); err != nil {
					return err
				}
			}
		}
	}
	switch _, err := b.next(); {
	case err == nil:
		return b.fail("there is a line behind the summary")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// agrees compares a total with the sum of its column. A total that is written with fewer
// decimals than the column, as that of the fees, may differ by its rounding.
func (b *bill) agrees(name, value string, c summedColumn) error {
	total, unit, ok := micros(value)
	if !ok {
		return b.fail("%s is %s; it must be an amount in yuan", name, shown(value))
	}
	if off := total - c.sum; off != 0 && (c.name != colFee || max(off, -off) >= unit) {
		return b.fail("%s is %s, and the rows come to %s: the bill is incomplete. Download it again", name, value, yuan(c.sum))
	}
	return nil
}

// shown quotes what a bill says, shortened. Only amounts, times, names of columns and
// statuses are shown.
func shown(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}
