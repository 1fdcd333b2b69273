import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** java Client enqueue NO FEN | look NO | withdraw NO REASON */
public final class Client {
    private static final String API = System.getenv().getOrDefault("API", "http://127.0.0.1:9090");
    private static final HttpClient HTTP = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();

    /** Calls the API. Every call can be sent again without harm, so it is when no answer came. */
    static Map<String, Object> call(String method, String path, String body) throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(API + path)).timeout(Duration.ofSeconds(40))
                .header("Content-Type", "application/json")
                .method(method, body == null ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body));
        if (System.getenv("TOKEN") != null) {
            request.header("Authorization", "Bearer " + System.getenv("TOKEN"));
        }
        for (int attempt = 1; ; attempt++) {
            try {
                HttpResponse<String> reply = HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
                int status = reply.statusCode();
                if (status < 400) {
                    return Json.readObject(reply.body());
                }
                if (status != 429 && status != 503 || attempt == 5) {
                    throw new IllegalStateException("HTTP " + status + ": " + Json.readObject(reply.body()).get("detail"));
                }
            } catch (IOException e) {
                if (attempt == 5) {
                    throw e;
                }
            }
            Thread.sleep(1000L * attempt);
        }
    }

    static String order(String no) {
        return "/v1/orders/" + System.getenv("WECHATPAY_MCHID") + "/" + URLEncoder.encode(no, StandardCharsets.UTF_8).replace("+", "%20");
    }

    static int run(String command, String no, String value) throws IOException, InterruptedException {
        switch (command) {
            case "enqueue": // up to 10,000 orders in one call; each has a result of its own
                Map<String, Object> reply = call("POST", "/v1/orders",
                        "{\"orders\":[{\"out_order_no\":" + Json.quote(no) + ",\"amount\":" + Long.parseLong(value) + "}]}");
                Map<String, Object> row = Json.objects(reply, "results").get(0);
                System.out.println(no + " " + row.get("result") + " " + row.getOrDefault("detail", row.getOrDefault("state", "")));
                return List.of("accepted", "duplicate").contains(row.get("result")) ? 0 : 1;
            case "look":
                Map<String, Object> order = call("GET", order(no), null);
                System.out.println(no + " " + order.get("state") + ", paid " + order.getOrDefault("paid_amount", 0L) + " fen. "
                        + ((Map<?, ?>) order.get("explain")).get("next"));
                return 0;
            case "withdraw": // with paid_at WeChat Pay is notified that the user paid elsewhere, and stops deducting
                order = call("POST", order(no) + "/withdraw", "{\"reason\":" + Json.quote(value)
                        + ",\"paid_at\":\"" + Instant.now().truncatedTo(ChronoUnit.SECONDS) + "\"}");
                System.out.println(no + " " + order.get("state"));
                return 0;
            default:
                throw new IllegalArgumentException("usage: Client enqueue NO FEN | look NO | withdraw NO REASON");
        }
    }

    public static void main(String[] args) throws InterruptedException {
        int status = 1;
        try {
            String[] given = Arrays.copyOf(args, 3);
            status = run(String.valueOf(given[0]), given[1], given[2]);
        } catch (IOException | RuntimeException e) {
            System.err.println(e.getMessage());
        }
        System.exit(status);
    }
}
