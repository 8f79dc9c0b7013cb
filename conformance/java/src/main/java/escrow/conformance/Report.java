package escrow.conformance;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What one scenario saw, as one JSON line. Values must not depend on ids, ports or the clock: the same scenario against
 * another broker is compared line by line.
 */
final class Report {
    private final String scenario;
    private final Map<String, Object> outcomes = new LinkedHashMap<>();
    private final List<String> failures = new ArrayList<>();

    Report(String scenario) {
        this.scenario = scenario;
    }

    /** Records what was seen; the comparison with Apache judges it. */
    synchronized void observe(String name, Object seen) {
        outcomes.put(name, seen);
    }

    /** Records what was seen, and fails the scenario if it is not what any correct broker shows. */
    synchronized void expect(String name, Object expected, Object seen) {
        outcomes.put(name, seen);
        if (!json(expected).equals(json(seen))) {
            failures.add(name + ": expected " + json(expected) + ", saw " + json(seen));
        }
    }

    /** For what differs from run to run, as ids and names do: records only whether both are the same. */
    synchronized void expectSame(String name, Object expected, Object seen) {
        outcomes.put(name, expected.equals(seen));
        if (!expected.equals(seen)) {
            failures.add(name + ": expected " + expected + ", saw " + seen);
        }
    }

    synchronized void fail(Throwable cause) {
        StackTraceElement[] trace = cause.getStackTrace();
        String place = "";
        for (StackTraceElement frame : trace) {
            if (frame.getClassName().startsWith("escrow.")) {
                place = " at " + frame.getFileName() + ":" + frame.getLineNumber();
                break;
            }
        }
        failures.add(cause + place);
    }

    synchronized String line(long millis) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("scenario", scenario);
        line.put("status", failures.isEmpty() ? "passed" : "failed");
        line.put("outcomes", outcomes);
        line.put("failures", failures);
        line.put("millis", millis);
        return json(line);
    }

    static String notApplicable(String scenario, String reason) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("scenario", scenario);
        line.put("status", "n/a");
        line.put("reason", reason);
        return json(line);
    }

    static String json(Object value) {
        StringBuilder out = new StringBuilder();
        write(out, value);
        return out.toString();
    }

    private static void write(StringBuilder out, Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) {
            out.append(value);
        } else if (value instanceof Map<?, ?> map) {
            out.append('{');
            String comma = "";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                out.append(comma);
                write(out, String.valueOf(entry.getKey()));
                out.append(':');
                write(out, entry.getValue());
                comma = ",";
            }
            out.append('}');
        } else if (value instanceof Collection<?> items) {
            out.append('[');
            String comma = "";
            for (Object item : items) {
                out.append(comma);
                write(out, item);
                comma = ",";
            }
            out.append(']');
        } else {
            text(out, value.toString());
        }
    }

    private static void text(StringBuilder out, String value) {
        out.append('"');
        for (char c : value.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < 0x20) {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }
}
