// Expressions by FerEdge.cs: check.exe BUNDLE FRAMES COUNT SIDE prints label and score of each RGB frame of SIDE x SIDE.
using System;
using System.Globalization;
using System.IO;
using FerEdge;

static class Check
{
    struct Color32 { public byte r, g, b, a; } // as Unity's

    static void Print(Expression expression)
    {
        Console.WriteLine(expression.Label + " " + expression.Score.ToString("R", CultureInfo.InvariantCulture) + " "
            + (expression.Certain ? "certain" : "unsure") + " " + expression.Warnings);
    }

    static int Main(string[] arguments)
    {
        int count = int.Parse(arguments[2]), side = int.Parse(arguments[3]), bytes = side * side * 3;
        var frames = File.ReadAllBytes(arguments[1]);
        using (var recognizer = new Recognizer(arguments[0], threads: 1))
            for (var i = 0; i < count; i++)
            {
                var frame = new byte[bytes];
                Array.Copy(frames, i * bytes, frame, 0, bytes);
                Print(recognizer.Recognize(frame, side, side, PixelFormat.RGB, new[] { Face.WholeFrame })[0]);
            }
        // The last frame again: from memory, as Unity's pixels in rows from the bottom, by box and by points.
        var pixels = new Color32[side * side];
        for (var i = 0; i < pixels.Length; i++)
        {
            var place = (count - 1) * bytes + 3 * ((side - 1 - i / side) * side + i % side);
            pixels[i] = new Color32 { r = frames[place], g = frames[place + 1], b = frames[place + 2], a = 7 };
        }
        using (var recognizer = new Recognizer(File.ReadAllBytes(arguments[0]), threads: 1, batch: 2))
        {
            var s = side / 112.0;
            var points = new[] { 34.4 * s, 42.1 * s, 77.6 * s, 42.1 * s, 56 * s, 60 * s, 38.1 * s, 87.7 * s, 73.9 * s, 87.7 * s };
            var faces = new[] { Face.WholeFrame, Face.Box(0, 0, side, side), Face.WithPoints(0, 0, side, side, points) };
            foreach (var expression in recognizer.Recognize(pixels, side, side, PixelFormat.RGBA, faces, bottomUp: true))
                Print(expression);
            try
            {
                recognizer.Recognize(pixels, side, side, PixelFormat.RGBA, new[] { Face.Box(0, 0, 0, 0) });
            }
            catch (FerEdgeException error)
            {
                Console.WriteLine(error.Status + " " + error.Message);
            }
        }
        var closed = new Recognizer(arguments[0]);
        closed.Dispose();
        closed.Dispose();
        try
        {
            closed.Recognize(frames, side, side, PixelFormat.RGB, new[] { Face.WholeFrame });
        }
        catch (ObjectDisposedException)
        {
            Console.WriteLine("closed");
        }
        try
        {
            new Recognizer("néant.fer");
        }
        catch (FerEdgeException error)
        {
            Console.WriteLine(error.Status + " " + error.Message);
        }
        return 0;
    }
}
