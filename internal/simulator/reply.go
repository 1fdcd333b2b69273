package simulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// way is how a reply reaches the client, if it does.
type way int

const (
	wayWhole     way = iota
	wayTruncated     // half of it, then the connection is closed
	wayReset         // nothing; the connection is reset
	wayHang          // nothing, until the client leaves
)

// maxHang ends the hanging calls of a client that never leaves.
const maxHang = 10 * time.Minute

// reply is what the platform sends back.
type reply struct {
	status     int
	body       []byte
	detailCode string // the detail code behind Request-ID's last dash
	page       bool   // an HTML page of a proxy: none of the platform's headers
	// contentType is of what is no JSON.
	contentType string
	how         signing
	way         way
	// showsEnd: the body truthfully shows that the order has ended. From its
	// delivery on, the audit counts further calls as calls after the end.
	showsEnd bool
	// showsOwed: the body shows that the order waits for payment.
	showsOwed bool
}

func jsonReply(v any) reply {
	body, err := json.Marshal(v)
	if err != nil {
		// Cannot happen: JSON can express all of our types.
		return apiError{status: http.StatusInternalServerError, code: "SYSTEM_ERROR", message: "系统异常", detailCode: detailSystem}.reply()
	}
	return reply{status: http.StatusOK, body: body, detailCode: detailOK}
}

func (r reply) unsigned() reply {
	r.how = signNone
	return r
}

func pageReply(status int) reply {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	return reply{
		status: status, how: signNone, page: true,
		body: []byte("<html>\r\n<head><title>" + text + "</title></head>\r\n<body>\r\n<center><h1>" + text + "</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"),
	}
}

// deliver sends rep. It returns early where the client has left.
func (s *Simulator) deliver(w http.ResponseWriter, r *http.Request, c *call, rep reply) {
	switch rep.way {
	case wayHang:
		sleep(r.Context(), maxHang)
		reset(w)
		return
	case wayReset:
		reset(w)
		return
	}
	h := w.Header()
	if rep.page {
		h.Set("Content-Type", "text/html")
	} else {
		h.Set(headerRequestID, newRequestID(rep.detailCode))
		h.Set("Content-Type", cmp.Or(rep.contentType, "application/json; charset=utf-8"))
		if err := s.id.sign(h, rep.body, rep.how, s.id.serialFor(r, c.kind, *s.faults.Load()), time.Now()); err != nil {
			http.Error(w, "the simulator cannot sign: "+err.Error(), http.StatusInternalServerError)
			return
		}
		if rep.how == signGood {
			s.audit.count(func(r *Report) { r.SignedReplies++ })
		}
	}
	if rep.status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(rep.body)))
	}
	// The call ends here and not after the last byte: a client that has the reply
	// may call again before this goroutine continues, and that would look like two
	// calls at once.
	c.end()
	w.WriteHeader(rep.status)
	if rep.way == wayTruncated {
		_, _ = w.Write(rep.body[:len(rep.body)/2]) // the connection is closed either way
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // makes net/http close it
	}
	c.seen.Status, c.seen.Signed = rep.status, rep.how == signGood
	c.seen.Owed, c.seen.Ended = rep.showsOwed && c.seen.Own, rep.showsEnd && c.seen.Own
	if !rep.showsEnd || rep.how != signGood || r.Context().Err() != nil {
		_, err := w.Write(rep.body) // where it fails, the client has left
		c.seen.Answered = err == nil && r.Context().Err() == nil
		return
	}
	// Before the write and not after it, for the same reason: the client's
	// next call must find it.
	c.order.endShown(+1)
	_, err := w.Write(rep.body)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		c.order.endShown(-1) // the client never got it
	}
	c.seen.Answered = err == nil
}

// newRequestID returns a Request-ID with a detail code behind its last dash.
func newRequestID(detailCode string) string { return "08" + randomHex(17) + "-" + detailCode }

// reset closes the connection in a way that the client sees as a reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2 and recorders have nothing closer
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes Close send RST instead of FIN; without it the close still does
	}
	_ = conn.Close()
}
