import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** java Receiver [PORT] */
public final class Receiver {
    private static final Set<String> BOOKED = ConcurrentHashMap.newKeySet(); // yours: a table with a unique index

    /** Returns whether the request is the collector's, and less than five minutes old. */
    static boolean verified(HttpExchange request, byte[] body, byte[] key) throws GeneralSecurityException {
        String id = request.getRequestHeaders().getFirst("webhook-id");
        String at = request.getRequestHeaders().getFirst("webhook-timestamp");
        String signatures = request.getRequestHeaders().getFirst("webhook-signature");
        if (id == null || at == null || signatures == null || !at.matches("[0-9]{1,12}")) {
            return false;
        }
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((id + "." + at + ".").getBytes(StandardCharsets.UTF_8));
        byte[] ours = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes(StandardCharsets.UTF_8);
        boolean good = false;
        for (String signature : signatures.split(" ")) {
            good |= MessageDigest.isEqual(ours, signature.getBytes(StandardCharsets.UTF_8)); // in constant time
        }
        return good && Math.abs(Instant.now().getEpochSecond() - Long.parseLong(at)) <= 300;
    }

    static int receive(HttpExchange request, byte[] key) throws IOException, GeneralSecurityException {
        byte[] body = request.getRequestBody().readAllBytes();
        if (!verified(request, body, key)) {
            return 401;
        }
        Map<String, Object> event = Json.readObject(new String(body, StandardCharsets.UTF_8));
        System.out.println(event.get("type") + " " + event.get("out_order_no") + " " + event.get("state"));
        for (Map<String, Object> p : Json.objects(event, "payments")) {
            Object name = p.getOrDefault("transaction_id", event.get("out_order_no") + "#" + p.get("seq"));
            if (BOOKED.add(event.get("mchid") + " " + name)) {
                System.out.println("  book " + event.get("mchid") + " " + name + " " + p.get("amount") + " " + p.get("paid_type"));
            }
        }
        return 204; // only now: without a 2xx the event is sent again
    }

    public static void main(String[] args) throws IOException {
        String secret = System.getenv().getOrDefault("BILLING_WEBHOOK_SECRET", "");
        if (!secret.startsWith("whsec_")) {
            throw new IllegalStateException("BILLING_WEBHOOK_SECRET is missing: without it anyone could sign");
        }
        byte[] key = Base64.getDecoder().decode(secret.substring("whsec_".length()));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", args.length == 0 ? 8000 : Integer.parseInt(args[0])), 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", request -> {
            int status = 500; // the event is sent again
            try {
                status = receive(request, key);
            } catch (GeneralSecurityException | RuntimeException e) {
                System.err.println(e);
            }
            request.sendResponseHeaders(status, -1);
            request.close();
        });
        server.start();
    }
}
