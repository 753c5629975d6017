package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// checkShape reports every field of v, a JSON value with numbers as json.Number, that type t does
// not have or that is of another type: encoding/json alone would stop at the first, and take
// ASNUMBER for asNumber. Values are never repeated in messages: they may be secret.
func checkShape(r *report, path string, v any, t reflect.Type) {
	if v == nil {
		return // null is the same as absent
	}
	if t.Kind() == reflect.Pointer {
		checkShape(r, path, v, t.Elem())
		return
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		checkUnmarshaler(r, path, v, t)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		if m, ok := v.(map[string]any); ok {
			checkStruct(r, path, m, t)
		} else {
			wrongType(r, path, v, "an object")
		}
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			wrongType(r, path, v, "an object")
			return
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			checkShape(r, path+"["+key+"]", m[key], t.Elem())
		}
	case reflect.Slice:
		checkSlice(r, path, v, t)
	default:
		checkScalar(r, path, v, t)
	}
}

func checkUnmarshaler(r *report, path string, v any, t reflect.Type) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err == nil {
		return
	}
	wants := map[string]string{
		"Duration": "a duration, such as 90s or 2m",
		"Time":     "a time, such as 2030-01-02T15:04:05Z",
		"ASNumber": `a number, "internal" or "external"`,
		"Quantity": "a quantity, such as 4 or 16Gi",
	}[t.Name()]
	if wants == "" {
		wants = "another value"
	}
	wrongType(r, path, v, wants)
}

func checkStruct(r *report, path string, m map[string]any, t reflect.Type) {
	fields := jsonFields(t)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		field := key
		if path != "" {
			field = path + "." + key
		}
		if ft, ok := fields[key]; ok {
			checkShape(r, field, m[key], ft)
			continue
		}
		r.add(field, "unknown field", suggest(key, slices.Sorted(maps.Keys(fields))))
	}
}

func checkSlice(r *report, path string, v any, t reflect.Type) {
	if t.Elem().Kind() == reflect.Uint8 {
		s, ok := v.(string)
		if !ok {
			wrongType(r, path, v, "a string in base64")
		} else if _, err := base64.StdEncoding.DecodeString(s); err != nil {
			r.add(path, "is not base64", "encode it, or use stringData for plain text")
		}
		return
	}
	list, ok := v.([]any)
	if !ok {
		wrongType(r, path, v, "a list")
		return
	}
	for i, item := range list {
		checkShape(r, fmt.Sprintf("%s[%d]", path, i), item, t.Elem())
	}
}

func checkScalar(r *report, path string, v any, t reflect.Type) {
	switch t.Kind() {
	case reflect.String:
		if _, ok := v.(string); !ok {
			wrongType(r, path, v, "a string, in quotes")
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			wrongType(r, path, v, "true or false")
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, ok := v.(json.Number)
		if !ok {
			wrongType(r, path, v, "a number")
		} else if _, err := strconv.ParseInt(n.String(), 10, t.Bits()); err != nil {
			most := int64(math.MaxInt64) >> (64 - t.Bits())
			r.add(path, "out of range", fmt.Sprintf("use a whole number from %d to %d", -most-1, most))
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, ok := v.(json.Number)
		if !ok {
			wrongType(r, path, v, "a number")
		} else if _, err := strconv.ParseUint(n.String(), 10, t.Bits()); err != nil {
			most := uint64(math.MaxUint64) >> (64 - t.Bits())
			r.add(path, "out of range", fmt.Sprintf("use a whole number from 0 to %d", most))
		}
	default: // floats; no kind of ours has them
		if _, ok := v.(json.Number); !ok {
			wrongType(r, path, v, "a number")
		}
	}
}

func wrongType(r *report, path string, v any, wants string) {
	is := "a number"
	switch v.(type) {
	case string:
		is = "a string"
	case bool:
		is = "true or false"
	case []any:
		is = "a list"
	case map[string]any:
		is = "an object"
	}
	r.add(path, "is "+is, "write "+wants)
}

// jsonFields maps the names of t's fields in JSON to their types, those of inlined structs included.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name != "":
			fields[name] = f.Type
		case f.Anonymous:
			maps.Copy(fields, jsonFields(f.Type))
		}
	}
	return fields
}

// suggest is the mend for an unknown field: the known field it is most like, else all of them.
func suggest(key string, known []string) string {
	best, distance := "", 3 // two slips of the finger at most
	for _, k := range known {
		if d := editDistance(strings.ToLower(key), strings.ToLower(k)); d < distance && d < len(key) {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(known) == 0:
		return "remove it"
	}
	return "remove it; known here: " + strings.Join(known, ", ")
}

// editDistance is Levenshtein's: insertions, deletions and replacements from a to b, in bytes.
// Very long keys are as far away as can be.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return math.MaxInt
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// decodeJSON reads one JSON value, numbers as json.Number.
func decodeJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}
