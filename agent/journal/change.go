package journal

import "context"

// change does to what is selected, the oldest first, what the request says. Each
// page is changed and audited in one transaction.
func (o *operation) change(ctx context.Context) error {
	err := o.pages(ctx, false, func(rows []found) error {
		var skipped []string // by row: why nothing was done, if so
		var touched []found
		err := o.writer.write(ctx, func(t *tx) error {
			skipped, touched = nil, nil
			for _, f := range rows {
				why, err := o.apply(t, f)
				if err != nil {
					return err
				}
				if skipped = append(skipped, why); why == "" {
					touched = append(touched, f)
				}
			}
			return o.audited(t, o.who, o.what(), ids(touched))
		})
		if err != nil {
			return err
		}
		if !o.DryRun {
			o.wake(touched)
		}
		o.summary.Changed += len(touched)
		o.summary.Skipped += len(rows) - len(touched)
		for i, f := range rows {
			row := o.row(f, o.Reveal)
			row.Outcome = o.outcome(skipped[i])
			if err := o.send(Result{Row: &row}); err != nil {
				return err
			}
		}
		return nil
	})
	return o.conclude(ctx, err)
}

func (o *operation) outcome(skipped string) string {
	done := map[Verb]string{Replay: "replayed", PutOff: "set aside", Release: "released"}[o.Do]
	switch {
	case skipped != "":
		return "skipped: " + skipped
	case o.DryRun:
		return "would be " + done
	}
	return done
}

// wake tells the pipeline that there is more to do.
func (o *operation) wake(rows []found) {
	for _, f := range rows {
		if f.item {
			o.queued(f.name).set()
		} else {
			o.entries.set()
		}
	}
}

func (o *operation) apply(t *tx, f found) (skipped string, err error) {
	if f.item {
		return o.applyItem(t, f)
	}
	return o.applyEntry(t, f)
}

const (
	waits     = "it waits already"
	waitsNot  = "it does not wait"
	notAside  = "it is not set aside"
	destroyed = "its message has had its time and is destroyed"
	gone      = "it is there no more"
)

// refused tells why the verb can not be done to something in that state.
func (o *operation) refused(state State, kept bool) string {
	switch {
	case o.Do == PutOff && state != Waiting:
		return waitsNot
	case o.Do == PutOff:
		return ""
	case state == Waiting:
		return waits
	case o.Do == Release && state != SetAside:
		return notAside
	case !kept:
		return destroyed
	}
	return ""
}

// applyEntry lets an entry wait again under its own number, at the end of those
// that wait, or sets it aside.
func (o *operation) applyEntry(t *tx, f found) (skipped string, err error) {
	var state State
	var kept bool
	there, err := t.get(`SELECT state, body IS NOT NULL FROM entries WHERE seq = ?`, []any{f.id}, &state, &kept)
	if err != nil || !there {
		return gone, err
	}
	if why := o.refused(state, kept); why != "" || o.DryRun {
		return why, nil
	}
	if o.Do == PutOff {
		return "", o.endEntry(t, Outcome{Entry: Seq(f.id), State: SetAside, Note: "set aside by an operator"}, t.stamp(o.now()))
	}
	if err := t.number(); err != nil {
		return "", err
	}
	_, err = t.exec(`UPDATE entries SET state = 0, turn = ?, settled = NULL WHERE seq = ?`, t.seq, f.id)
	return "", err
}

// applyItem lets an item wait again as it was, or sets it aside.
func (o *operation) applyItem(t *tx, f found) (skipped string, err error) {
	var state State
	var kept, replaced bool
	var l line
	// What a later version has replaced must not be put before the clinician again.
	there, err := t.get(`SELECT state, body IS NOT NULL, attendance, patient, EXISTS (SELECT 1 FROM outbox l
		WHERE l.attendance = o.attendance AND l.outbox = o.outbox AND l.id > o.id AND l.alert IS o.alert AND (l.alert IS NOT NULL OR l.state = 0 AND l.control IS o.control))
		FROM outbox o WHERE id = ?`, []any{f.id}, &state, &kept, &l.attendance, &l.patient, &replaced)
	if err != nil || !there {
		return gone, err
	}
	why := o.refused(state, kept)
	switch {
	case why != "":
	case o.Do == Replay && Reserved(f.name) && f.name != Corrections:
		why = "a lookup is asked again by replaying its entry"
	case o.Do != PutOff && replaced:
		why = "a later one has taken its place"
	}
	if why != "" || o.DryRun {
		return why, nil
	}
	if o.Do == PutOff {
		return "", t.endItem(ItemID(f.id), SetAside, t.stamp(o.now()), f.code, true)
	}
	if _, err := t.exec(`UPDATE outbox SET head = 0 WHERE outbox = ?1 AND state = 0 AND (attendance = ?2 OR patient = ?3)`, f.name, l.attendance, l.patient); err != nil {
		return "", err
	}
	if _, err := t.exec(`UPDATE outbox SET state = 0, due = 0, tries = 0, settled = NULL WHERE id = ?`, f.id); err != nil {
		return "", err
	}
	return "", t.advance(f.name, l)
}
