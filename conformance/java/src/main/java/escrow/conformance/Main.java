package escrow.conformance;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** {@code --namesrv ADDR --run TAG [--scenario a,b] [--parallel N]}: one JSON line for each scenario on stdout. */
public final class Main {
    static final PrintStream OUT = System.out;
    private static final int SCENARIO_SECONDS_MAX = 90;

    interface Scenario {
        void play(Scene scene) throws Exception;
    }

    static final class NotApplicable extends Exception {
        NotApplicable(String reason) {
            super(reason);
        }
    }

    public static void main(String[] args) throws Exception {
        // The clients' logging prints its own set-up on stdout, which belongs to the report.
        System.setOut(System.err);
        Map<String, String> options = options(args);
        if (options.containsKey("child")) {
            Child.main(options);
            return;
        }
        if (options.containsKey("listen")) {
            Listener.main(options);
            return;
        }
        Map<String, Scenario> all = new LinkedHashMap<>();
        Transactions.add(all);
        Dying.add(all);
        Sends.add(all);
        Consumers.add(all);
        Retries.add(all);
        Starts.add(all);
        Queries.add(all);
        Doors.add(all);
        List<String> chosen = options.containsKey("scenario")
            ? Arrays.asList(options.get("scenario").split(",")) : new ArrayList<>(all.keySet());
        play(all, chosen, options);
        OUT.flush();
        // Client threads that outlive their shutdown must not keep the process.
        Runtime.getRuntime().halt(0);
    }

    private static void play(Map<String, Scenario> all, List<String> chosen, Map<String, String> options) throws Exception {
        ExecutorService stage = Executors.newFixedThreadPool(Integer.parseInt(options.getOrDefault("parallel", "6")));
        List<Future<?>> running = new ArrayList<>();
        for (String name : chosen) {
            running.add(stage.submit(() -> {
                String line = play(name, all.get(name), options);
                synchronized (OUT) {
                    OUT.println(line);
                    OUT.flush();
                }
            }));
        }
        for (Future<?> scenario : running) {
            scenario.get();
        }
        stage.shutdown();
    }

    private static String play(String name, Scenario scenario, Map<String, String> options) {
        long start = System.currentTimeMillis();
        Report report = new Report(name);
        if (scenario == null) {
            report.fail(new IllegalArgumentException("no such scenario"));
            return report.line(0);
        }
        ExecutorService actor = Executors.newSingleThreadExecutor();
        Scene scene = new Scene(options.get("namesrv"), options.get("run"), name, report);
        Future<?> play = actor.submit(() -> {
            scenario.play(scene);
            return null;
        });
        try {
            play.get(SCENARIO_SECONDS_MAX, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            play.cancel(true);
            report.fail(new TimeoutException("not over after " + SCENARIO_SECONDS_MAX + " s"));
        } catch (Exception e) {
            if (e.getCause() instanceof NotApplicable reason) {
                scene.close();
                return Report.notApplicable(name, reason.getMessage());
            }
            report.fail(e.getCause() == null ? e : e.getCause());
        }
        scene.close();
        actor.shutdownNow();
        return report.line(System.currentTimeMillis() - start);
    }

    private static Map<String, String> options(String[] args) {
        Map<String, String> options = new LinkedHashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) {
            options.put(args[i].replaceFirst("^--", ""), args[i + 1]);
        }
        return options;
    }
}
