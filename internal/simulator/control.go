package simulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxOrdersAtOnce and maxControlBody bound one POST /_sim/orders.
const (
	maxOrdersAtOnce = 100_000
	maxControlBody  = 64 << 20
)

// control adds the control API to mux.
func (s *Simulator) control(mux *http.ServeMux) {
	mux.HandleFunc("POST /_sim/orders", s.postOrders)
	mux.HandleFunc("DELETE /_sim/orders", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /_sim/orders/{out_order_no}", func(w http.ResponseWriter, r *http.Request) {
		no := r.PathValue("out_order_no")
		truth, ok := s.Order(no)
		if !ok {
			controlError(w, http.StatusNotFound, fmt.Errorf("order %q was never added", no))
			return
		}
		controlReply(w, http.StatusOK, truth)
	})
	mux.HandleFunc("POST /_sim/orders/{out_order_no}/pay", changeOrder(s, func(o *order, c struct {
		Amount   int64  `json:"amount"`
		PaidType string `json:"paid_type"`
	}, now time.Time) error {
		return o.payNow(c.Amount, cmp.Or(c.PaidType, PaidTypeNewton), now)
	}))
	mux.HandleFunc("POST /_sim/orders/{out_order_no}/lower", changeOrder(s, func(o *order, c struct {
		TotalAmount int64 `json:"total_amount"`
	}, _ time.Time) error {
		return o.lower(c.TotalAmount)
	}))
	controlSettings(mux, "faults", s.SetFaults, s.Faults)
	controlSettings(mux, "bill", s.SetBill, s.Bill)
	controlSettings(mux, "notifications", s.SetNotifications, s.Notifications)
	mux.HandleFunc("GET /_sim/report", func(w http.ResponseWriter, _ *http.Request) {
		controlReply(w, http.StatusOK, s.Report())
	})
	mux.HandleFunc("/_sim/", func(w http.ResponseWriter, r *http.Request) {
		controlError(w, http.StatusNotFound, fmt.Errorf("there is no %s %s; use POST or DELETE /_sim/orders, GET /_sim/orders/{out_order_no}, POST /_sim/orders/{out_order_no}/pay or /lower, GET or PUT /_sim/faults, GET or PUT /_sim/notifications, GET or PUT /_sim/bill, or GET /_sim/report", r.Method, r.URL.Path))
	})
}

func (s *Simulator) postOrders(w http.ResponseWriter, r *http.Request) {
	orders, err := decodeOrders(http.MaxBytesReader(w, r.Body, maxControlBody))
	if err != nil {
		controlError(w, http.StatusBadRequest, err)
		return
	}
	switch err := s.AddOrders(orders...); {
	case errors.Is(err, ErrDuplicateOrder):
		controlError(w, http.StatusConflict, err)
	case err != nil:
		controlError(w, http.StatusBadRequest, err)
	default:
		controlReply(w, http.StatusCreated, map[string]int{"count": len(orders)})
	}
}

// changeOrder serves a call that changes one order as its body, a C, asks for, and
// that answers with the order's new truth. do is called with the order locked.
func changeOrder[C any](s *Simulator, do func(o *order, c C, now time.Time) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		no := r.PathValue("out_order_no")
		c, err := decodeOnly[C](http.MaxBytesReader(w, r.Body, maxControlBody))
		if err != nil {
			controlError(w, http.StatusBadRequest, fmt.Errorf("order %q: %w", no, err))
			return
		}
		o := s.find(no)
		if o == nil {
			controlError(w, http.StatusNotFound, fmt.Errorf("order %q was never added", no))
			return
		}
		if err := s.changing(o, func(now time.Time) error { return do(o, c, now) }); err != nil {
			controlError(w, http.StatusConflict, err)
			return
		}
		controlReply(w, http.StatusOK, o.truth(s.id.Merchant, s.clock()))
	}
}

// decodeOnly reads one JSON value without unknown fields. Nothing may follow it.
func decodeOnly[T any](body io.Reader) (T, error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	var v T
	if err := dec.Decode(&v); err != nil {
		return v, plainJSONError(err)
	}
	return v, onlyWhitespaceLeft(dec)
}

// decodeOrders reads a JSON array of orders. Its errors say which order is wrong.
func decodeOrders(body io.Reader) ([]Order, error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New(`the body must be a JSON array of orders, such as [{"out_order_no":"A1","fate":"declines:2"}]`)
	}
	var orders []Order
	for dec.More() {
		if len(orders) == maxOrdersAtOnce {
			return nil, fmt.Errorf("there are more than %d orders; send them in several requests", maxOrdersAtOnce)
		}
		var o Order
		if err := dec.Decode(&o); err != nil {
			return nil, fmt.Errorf("order %d of the list (out_order_no %q): %w", len(orders)+1, o.OutOrderNo, plainJSONError(err))
		}
		orders = append(orders, o)
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("the list of orders does not end: %w", plainJSONError(err))
	}
	return orders, onlyWhitespaceLeft(dec)
}

// controlSettings serves settings: set validates and applies new ones, and get returns
// those in force.
func controlSettings[T any](mux *http.ServeMux, name string, set func(T) error, get func() T) {
	mux.HandleFunc("GET /_sim/"+name, func(w http.ResponseWriter, _ *http.Request) {
		controlReply(w, http.StatusOK, get())
	})
	mux.HandleFunc("PUT /_sim/"+name, func(w http.ResponseWriter, r *http.Request) {
		v, err := decodeOnly[T](http.MaxBytesReader(w, r.Body, maxControlBody))
		if err == nil {
			err = set(v)
		}
		if err != nil {
			controlError(w, http.StatusBadRequest, fmt.Errorf("%s: %w", name, err))
			return
		}
		controlReply(w, http.StatusOK, get())
	})
}

func onlyWhitespaceLeft(dec *json.Decoder) error {
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the end of the JSON")
	}
	return nil
}

// plainJSONError rewrites an error of encoding/json without the names of Go types.
func plainJSONError(err error) error {
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return fmt.Errorf("the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s must not be a JSON %s", cmp.Or(wrongType.Field, "it"), wrongType.Value)
	case errors.As(err, &syntax):
		return fmt.Errorf("it is not valid JSON at byte %d: %w", syntax.Offset, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends too early")
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("field %s is not known", field)
	}
	return err
}

func controlReply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only where the client has left
}

func controlError(w http.ResponseWriter, status int, err error) {
	controlReply(w, status, map[string]string{"error": err.Error()})
}
