package simulator

import "net/http"

// treatment is what goes wrong with one call. The zero value has no effect and no
// reply; honest treatment acts.
type treatment struct {
	acts    bool    // the platform does what was asked
	instead *reply  // sent instead of the honest reply
	how     signing // signGood leaves the reply's own signing as it is
	way     way
}

var honest = treatment{acts: true}

// treatment decides what goes wrong with a call: the order's script decides where
// it has a reply for this call, else the random choice among the faults.
func (s *Simulator) treatment(c *call, f Faults, luck draws) treatment {
	switch c.kind {
	case CallCollect, CallQuery, CallSync:
	default:
		return honest
	}
	if c.order != nil {
		c.order.mu.Lock()
		scripted, ok := c.order.nextReply(c.kind)
		if ok && c.kind == CallCollect && scripted.Kind == KindError && scripted.Code == errDeclined.code {
			c.order.decline(apiError{detailCode: scripted.DetailCode})
		}
		c.order.mu.Unlock()
		if ok {
			s.audit.count(func(r *Report) { r.Scripted[scripted.Kind]++ })
			c.seen.Fault = string(scripted.Kind)
			return s.script(c, scripted)
		}
	}
	fault := f.pick(luck.fault)
	if fault == "" {
		return honest
	}
	s.suffer(c, fault)
	return faultTreatment(fault, luck.coin)
}

// suffer records that a call meets a fault.
func (s *Simulator) suffer(c *call, fault string) {
	s.audit.count(func(r *Report) { r.Faults[fault]++ })
	c.seen.Fault = fault
}

func faultTreatment(fault string, coin float64) treatment {
	heads := coin < 0.5
	switch fault {
	case faultError5xx:
		statuses := [...]int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}
		// Six equal parts of the coin, so that the status does not reveal whether the
		// call took effect.
		status := statuses[int(coin*6)%len(statuses)]
		rep := apiError{status: status, code: "SYSTEM_ERROR", message: "系统异常，请稍后重试", detailCode: detailSystem}.reply()
		return treatment{acts: heads, instead: &rep}
	case faultHang:
		return treatment{acts: heads, way: wayHang}
	case faultDropBefore:
		return treatment{way: wayReset}
	case faultDropAfter:
		return treatment{acts: true, way: wayReset}
	case faultWrongSignature:
		return treatment{acts: true, how: signWrong}
	case faultMissingSignature:
		return treatment{acts: true, how: signNone}
	case faultHTML502:
		rep := pageReply(http.StatusBadGateway)
		return treatment{instead: &rep}
	default:
		return honest
	}
}

func (s *Simulator) script(c *call, r ScriptedReply) treatment {
	instead := func(rep reply) treatment { return treatment{instead: &rep} }
	switch r.Kind {
	case KindError, KindUnsignedError:
		rep := apiError{status: r.HTTP, code: r.Code, message: r.Message, detailCode: r.DetailCode}.reply()
		if r.Kind == KindUnsignedError {
			rep = rep.unsigned()
		}
		return instead(rep)
	case KindHTML:
		return instead(pageReply(r.HTTP))
	case KindEmpty:
		return instead(reply{status: r.HTTP, detailCode: r.DetailCode, how: signNone})
	case KindBody:
		return instead(reply{status: r.HTTP, detailCode: r.DetailCode, body: []byte(r.Body)})
	case KindOKUnsigned, KindOKWrongSignature:
		rep := c.order.forged(c.kind, s.id.Merchant, s.clock())
		if rep.how = signNone; r.Kind == KindOKWrongSignature {
			rep.how = signWrong
		}
		return instead(rep)
	case KindHang:
		return treatment{way: wayHang}
	case KindDropBefore:
		return treatment{way: wayReset}
	case KindDropAfter:
		return treatment{acts: true, way: wayReset}
	case KindTruncated:
		return treatment{acts: true, way: wayTruncated}
	case KindNoContent:
		return treatment{acts: true, instead: &reply{status: http.StatusNoContent, detailCode: detailOK}}
	default:
		return honest
	}
}
