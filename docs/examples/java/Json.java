import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads and writes JSON, so that the examples need no library. Use the one that your system has. */
final class Json {
    private static final Pattern TOKEN =
            Pattern.compile("\\s*(?:\"((?:[^\"\\\\]|\\\\.)*+)\"|(-?[0-9][-+.0-9eE]*|true|false|null)|([\\[\\]{}:,]))\\s*");
    private static final Pattern ESCAPE = Pattern.compile("\\\\(u[0-9a-fA-F]{4}|.)");

    private final Matcher in;
    private int end; // of the current token
    private String string, word, mark; // which it is: one of them
    private boolean held; // it was not taken yet

    private Json(String text) {
        in = TOKEN.matcher(text);
    }

    /** Returns a Map, List, String, Long, Double, Boolean or null. */
    static Object read(String text) {
        Json json = new Json(text);
        Object value = json.value();
        if (json.end != text.length()) {
            throw new IllegalArgumentException("text behind the JSON value");
        }
        return value;
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> readObject(String text) {
        return (Map<String, Object>) read(text);
    }

    /** Returns the objects of a list, which is empty if the field is absent. */
    @SuppressWarnings("unchecked")
    static List<Map<String, Object>> objects(Map<String, Object> in, String field) {
        return (List<Map<String, Object>>) in.getOrDefault(field, List.of());
    }

    static String quote(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            out.append(c == '"' || c == '\\' || c < ' ' ? String.format("\\u%04x", (int) c) : String.valueOf(c));
        }
        return out.append('"').toString();
    }

    private void next() {
        if (held) {
            held = false;
            return;
        }
        if (!in.region(end, in.regionEnd()).lookingAt()) {
            throw new IllegalArgumentException("not JSON at character " + end);
        }
        string = in.group(1);
        word = in.group(2);
        mark = in.group(3);
        end = in.end();
    }

    private boolean takes(String wanted) {
        next();
        held = !wanted.equals(mark);
        return !held;
    }

    private Object value() {
        next();
        if (string != null) {
            return ESCAPE.matcher(string).replaceAll(m -> Matcher.quoteReplacement(unescape(m.group(1))));
        }
        if (word != null) {
            switch (word) {
                case "true": return true;
                case "false": return false;
                case "null": return null;
                default: return word.matches("-?[0-9]+") ? (Object) Long.valueOf(word) : Double.valueOf(word);
            }
        }
        boolean object = mark.equals("{");
        if (!object && !mark.equals("[")) {
            throw new IllegalArgumentException("not JSON: unexpected " + mark);
        }
        Map<String, Object> map = new LinkedHashMap<>();
        List<Object> list = new ArrayList<>();
        for (boolean first = true; !takes(object ? "}" : "]"); first = false) {
            if (!first && !takes(",")) {
                throw new IllegalArgumentException("not JSON: a comma is missing");
            }
            Object item = value();
            if (!object) {
                list.add(item);
            } else if (takes(":")) {
                map.put((String) item, value());
            } else {
                throw new IllegalArgumentException("not JSON: a colon is missing");
            }
        }
        return object ? map : list;
    }

    private static String unescape(String code) {
        switch (code.charAt(0)) {
            case 'u': return String.valueOf((char) Integer.parseInt(code.substring(1), 16));
            case 'b': return "\b";
            case 'f': return "\f";
            case 'n': return "\n";
            case 'r': return "\r";
            case 't': return "\t";
            default: return code;
        }
    }
}
